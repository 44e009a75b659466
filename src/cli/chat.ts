/** `launch chat`: in turns, a text that is typed and its continuation by a trained model, which sees what went before. */
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';
import type { ArgumentsCamelCase, CommandModule } from 'yargs';
import { UserError } from '../base/errors.ts';
import { Conversation } from '../run/conversation.ts';
import { loadModel } from '../run/loadModel.ts';
import { checkpointChoiceOf, engineOptionsOf, type ModelArguments, withModelOptions } from './options.ts';
import { warn } from './output.ts';
import { checkSampling, type SamplingArguments, samplingOf, withSamplingOptions } from './samplingOptions.ts';

type ChatArguments = ModelArguments & SamplingArguments;

export const chatCommand: CommandModule<object, ChatArguments> = {
  builder: (yargs) =>
    withSamplingOptions(withModelOptions(yargs))
      .positional('checkpoint', {
        type: 'string',
        describe:
          'As --checkpoint: a checkpoint, a run directory or a folder of GPT-2 weights [default: the newest run]',
      })
      .example('$0 chat', 'with the newest run: Ctrl-C stops a text, Ctrl-D ends')
      .example('$0 chat runs/quickstart --max-tokens 60 --stop .', 'short texts, up to a full stop'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<ChatArguments>): Promise<void> {
  const engine = engineOptionsOf(args);
  checkSampling(args);
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine });
  try {
    process.stderr.write(`${loaded.description}\n`);
    await talk(new Conversation(loaded, samplingOf(args, loaded.runConfig)));
  } finally {
    await loaded.engine.dispose();
  }
}

/** Takes a line, writes what follows it, and so on to the end of the input. */
async function talk(conversation: Conversation): Promise<void> {
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  if (isTerminal) process.stderr.write('Type a text to continue. Ctrl-C stops a text, Ctrl-D ends.\n');
  const lines = createInterface({
    input: process.stdin,
    output: isTerminal ? process.stdout : undefined,
    prompt: '> ',
  });
  let isAnswering = false;
  let isStopped = false;
  // Of a terminal that readline has made raw; elsewhere Ctrl-C ends the command as any other.
  lines.on('SIGINT', () => {
    isStopped = true;
    if (isAnswering) return;
    process.stdout.write('\n(Ctrl-D ends)\n');
    lines.prompt();
  });
  const answer = async (line: string): Promise<void> => {
    [isAnswering, isStopped] = [true, false];
    try {
      for await (const piece of conversation.answer(line)) {
        process.stdout.write(piece);
        // On a CPU a token is computed before its promise is looked at: keys get their turn here.
        await setImmediate();
        if (isStopped) break;
      }
      process.stdout.write('\n');
    } catch (error) {
      if (!isTerminal || !(error instanceof UserError)) throw error;
      warn(error.message);
    } finally {
      isAnswering = false;
    }
  };
  try {
    for await (const line of linesOf(lines, isTerminal)) await answer(line);
  } finally {
    // Else an input that stays open keeps a command that failed from ending.
    lines.close();
  }
  if (isTerminal) process.stdout.write('\n');
}

/** Lines as they come, those too that come while an answer is being written. */
async function* linesOf(lines: ReturnType<typeof createInterface>, isTerminal: boolean): AsyncGenerator<string> {
  const typed: string[] = [];
  let isOpen = true;
  let wake = (): void => {};
  lines.on('line', (line) => {
    typed.push(line);
    wake();
  });
  lines.on('close', () => {
    isOpen = false;
    wake();
  });
  while (isOpen || typed.length > 0) {
    const line = typed.shift();
    if (line !== undefined) {
      yield line;
      continue;
    }
    if (isTerminal) lines.prompt();
    await new Promise<void>((resolve) => {
      wake = resolve;
    });
  }
}
