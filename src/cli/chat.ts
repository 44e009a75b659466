/**
 * `launch chat`: the user types a text, a trained model continues it, in turns. A model with a chat template answers messages. The model sees the
 * earlier turns.
 */
import { createInterface, type Interface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';
import type { ArgumentsCamelCase, CommandModule } from 'yargs';
import { hasEncoder } from '../architecture/registry.ts';
import { exitCodeOf, UserError } from '../base/errors.ts';
import { ownCommand } from '../base/ownCommand.ts';
import { templateOf } from '../data/tokenizers/chatTemplate.ts';
import { ChatConversation } from '../run/chatConversation.ts';
import { Conversation } from '../run/conversation.ts';
import { type LoadedModel, loadModel } from '../run/loadModel.ts';
import { ChatFormat } from '../task/chatFormat.ts';
import {
  checkpointChoiceOf,
  checkpointPositional,
  engineOptionsOf,
  type ModelArguments,
  withModelOptions,
} from './options.ts';
import { warn } from './output.ts';
import { checkSampling, type SamplingArguments, samplingOf, withSamplingOptions } from './samplingOptions.ts';

type ChatArguments = ModelArguments & SamplingArguments;

/** Before the first line of a message, and before the others. */
const [firstPrompt, nextPrompt] = ['> ', '. '];
/** A line that starts a new conversation. */
const clearCommand = '/clear';

export const chatCommand: CommandModule<object, ChatArguments> = {
  builder: (yargs) =>
    withSamplingOptions(withModelOptions(yargs))
      .positional('checkpoint', checkpointPositional)
      .example('$0 chat', 'the newest run; a backslash at the end of a line continues the message on the next')
      .example('$0 chat runs/quickstart --max-tokens 60 --stop .', 'short texts that end at a full stop'),
  handler: run,
};

async function run(args: ArgumentsCamelCase<ChatArguments>): Promise<void> {
  const engine = engineOptionsOf(args);
  checkSampling(args);
  const loaded = await loadModel({ ...checkpointChoiceOf(args, warn), engine });
  try {
    process.stderr.write(`${loaded.description}\n`);
    await talk(conversationWith(loaded, args));
  } finally {
    await loaded.engine.dispose();
  }
}

/** @throws UserError for a model that does not talk, and for an option that has no effect on messages */
function conversationWith(loaded: LoadedModel, args: ChatArguments): Conversation | ChatConversation {
  if (hasEncoder(loaded.model.config)) {
    throw new UserError(
      `this model writes the target of a source, such as its translation, and does not chat. Give it the source: ${ownCommand('generate', '--prompt', 'TEXT')}`,
    );
  }
  const sampling = samplingOf(args, loaded.runConfig);
  const template = templateOf(loaded.tokenizer);
  if (template === undefined) return new Conversation(loaded, sampling);
  if (args['special-tokens']) {
    throw new UserError(
      '--special-tokens: the model has a chat template, and messages are plain text: omit this option',
    );
  }
  return new ChatConversation(loaded, new ChatFormat(template, loaded.tokenizer), sampling);
}

/** Reads each message and writes its continuation, until the input ends. */
async function talk(conversation: Conversation | ChatConversation): Promise<void> {
  const isTerminal = process.stdin.isTTY === true && process.stdout.isTTY === true;
  const what = conversation instanceof ChatConversation ? 'Type a message.' : 'Type a text to continue.';
  if (isTerminal) {
    process.stderr.write(
      `${what} A backslash at its end continues it on the next line, ${clearCommand} starts again.\n` +
        'Ctrl-C stops the answer, Ctrl-D quits.\n',
    );
  }
  const lines = createInterface({
    input: process.stdin,
    output: isTerminal ? process.stdout : undefined,
    prompt: firstPrompt,
  });
  let isAnswering = false;
  let isStopped = false;
  // Only on a terminal that readline has made raw. Elsewhere Ctrl-C ends the command as usual.
  lines.on('SIGINT', () => {
    isStopped = true;
    if (isAnswering) return;
    process.stdout.write('\n(Ctrl-D quits)\n');
    lines.prompt();
  });
  const answer = async (line: string): Promise<void> => {
    [isAnswering, isStopped] = [true, false];
    try {
      for await (const piece of conversation.answer(line)) {
        process.stdout.write(piece);
        // On a CPU a token is computed synchronously, so let key presses be handled here.
        await setImmediate();
        if (isStopped) break;
      }
      process.stdout.write('\n');
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      warn(`this line gets no answer: ${error.message}`);
      // Nobody sees the warning of a line that a program wrote.
      if (!isTerminal) process.exitCode = exitCodeOf(error);
    } finally {
      isAnswering = false;
    }
  };
  try {
    for await (const message of messagesIn(linesOf(lines, isTerminal), lines)) {
      if (message === clearCommand) conversation.clear();
      else await answer(message);
    }
  } finally {
    // Otherwise an input that stays open keeps a failed command running.
    lines.close();
  }
  if (isTerminal) process.stdout.write('\n');
}

/** Joins a line that ends with a backslash and the one after it. Two backslashes are text, as in LaTeX. */
async function* messagesIn(typed: AsyncIterable<string>, lines: Interface): AsyncGenerator<string> {
  let before = '';
  for await (const line of typed) {
    if (/(?<!\\)\\$/.test(line)) {
      before += `${line.slice(0, -1)}\n`;
      lines.setPrompt(nextPrompt);
      continue;
    }
    lines.setPrompt(firstPrompt);
    const message = before + line;
    before = '';
    yield message;
  }
  if (before !== '') yield before.slice(0, -1);
}

/** Lines as they arrive, including those typed during an answer. */
async function* linesOf(lines: Interface, isTerminal: boolean): AsyncGenerator<string> {
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
