#!/usr/bin/env node
process.stdout.write('lockstep\n');
