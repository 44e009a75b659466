import { Float64Engine } from './float64Engine.ts';
import { generationSuite } from './generationSuite.ts';
import { modelSuite } from './modelSuite.ts';

modelSuite('float64', async () => new Float64Engine());
generationSuite('float64', async () => new Float64Engine());
