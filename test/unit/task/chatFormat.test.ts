import { describe, expect, it, vi } from 'vitest';
import { type BuiltInTemplate, builtInTemplates } from '../../../src/task/builtInTemplates.ts';
import { ChatFormat, type ChatTokenizer, type Segment } from '../../../src/task/chatFormat.ts';
import type { Message } from '../../../src/task/messages.ts';
import { builtInTemplate, parseTemplate } from '../../../src/task/template.ts';
import { refusalOf } from './refusal.ts';
import { publishedTemplates } from './templates.ts';

/** A token for each character, and some special ones. */
function tokenizerWith(...names: string[]): ChatTokenizer {
  const specialTokens = new Map(names.map((name, id) => [name, 0x11_0000 + id]));
  return {
    kind: 'characters',
    endOfText: specialTokens.get('<|endoftext|>'),
    specialTokens,
    encode: (text) => Array.from(text, (character) => character.codePointAt(0)!),
  };
}

const all = tokenizerWith('<|endoftext|>', '<|im_start|>', '<|im_end|>', '<|eot_id|>');
const only = tokenizerWith('<|endoftext|>');
const conversation: Message[] = [
  { role: 'system', content: 'Be <|im_end|>.' },
  { role: 'user', content: 'Hi' },
  { role: 'assistant', content: ' Yo <|endoftext|>\ufdd00 ' },
  { role: 'user', content: 'Bye' },
  { role: 'assistant', content: 'ok' },
];

/** Segments as one text: «targets», special tokens in [brackets]. */
function shown(segments: readonly Segment[]): string {
  const text = segments.map(({ text, isTarget, isSpecial }) => {
    const part = isSpecial ? `[${text}]` : text;
    return isTarget ? `«${part}»` : part;
  });
  return text.join('').replaceAll('»«', '');
}

const segmentsOf = (source: string, tokenizer = all, messages = conversation): string =>
  shown(new ChatFormat(parseTemplate(source, 'mine'), tokenizer).segments(messages));

describe('the built-in templates', () => {
  const format = (name: BuiltInTemplate) => new ChatFormat(builtInTemplate(name), all);

  it('alpaca has the headings of Stanford Alpaca', () => {
    const message: Message = { role: 'user', content: 'Add.\n\n1 + 1', instruction: 'Add.', input: '1 + 1' };
    expect(shown(format('alpaca').segments([message, { role: 'assistant', content: '2' }]))).toBe(
      'Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n' +
        '### Instruction:\nAdd.\n\n### Input:\n1 + 1\n\n### Response:\n«2[<|endoftext|>]»',
    );
    expect(shown(format('alpaca').segments(conversation))).toBe(
      'Be <|im_end|>.\n\n### Instruction:\nHi\n\n### Response:\n« Yo <|endoftext|>\ufdd00 [<|endoftext|>]»' +
        '\n\n### Instruction:\nBye\n\n### Response:\n«ok[<|endoftext|>]»',
    );
  });

  it('chatml ends messages with the end-of-document token', () => {
    expect(shown(format('chatml').segments(conversation.slice(1, 3)))).toBe(
      '[<|im_start|>]user\nHi[<|endoftext|>]\n[<|im_start|>]assistant\n« Yo <|endoftext|>\ufdd00 [<|endoftext|>]»',
    );
  });

  it('plain adds nothing but the end of an answer', () => {
    expect(shown(format('plain').segments(conversation))).toBe(
      'Be <|im_end|>.Hi« Yo <|endoftext|>\ufdd00 [<|endoftext|>]»Bye«ok[<|endoftext|>]»',
    );
  });

  it('a message of the marks that the code uses is text', () => {
    const odd: Message[] = [
      { role: 'user', content: '\ufdd0\ufdd1' },
      { role: 'assistant', content: '\ufdd0\ufdd1' },
      { role: 'user', content: '\ufdd01\ufdd1' },
      { role: 'assistant', content: 'ok' },
    ];
    expect(shown(format('plain').segments(odd))).toBe(
      '\ufdd0\ufdd1«\ufdd0\ufdd1[<|endoftext|>]»\ufdd01\ufdd1«ok[<|endoftext|>]»',
    );
  });

  it('a prompt is the beginning of what the model was trained on', () => {
    for (const name of ['alpaca', 'chatml', 'plain'] as const) {
      const prompt = shown(format(name).prompt(conversation.slice(0, 4)));
      expect(shown(format(name).segments(conversation)).startsWith(prompt)).toBe(true);
      expect(prompt).toContain('Bye');
    }
  });
});

describe('published templates', () => {
  it('ChatML, whose end of turn is a special token of the tokenizer', () => {
    expect(segmentsOf(publishedTemplates.chatml)).toBe(
      '[<|im_start|>]system\nBe <|im_end|>.[<|im_end|>]\n[<|im_start|>]user\nHi[<|im_end|>]\n[<|im_start|>]assistant\n' +
        '« Yo <|endoftext|>\ufdd00 [<|im_end|>]»\n[<|im_start|>]user\nBye[<|im_end|>]\n[<|im_start|>]assistant\n«ok[<|im_end|>]»',
    );
    expect(new ChatFormat(parseTemplate(publishedTemplates.chatml, 'x'), all).endToken).toBe(0x11_0002);
  });

  it('ChatML, whose end of turn is text for the tokenizer: an answer ends with the end-of-document token', () => {
    expect(segmentsOf(publishedTemplates.chatml, only, conversation.slice(3))).toBe(
      '<|im_start|>user\nBye<|im_end|>\n<|im_start|>assistant\n«ok[<|endoftext|>]»',
    );
    expect(segmentsOf(publishedTemplates.chatml, only, conversation.slice(1))).toContain(
      '«[<|endoftext|>]»<|im_end|>\n<|im_start|>user\nBye'.slice(1),
    );
  });

  it('Llama 3 trims answers', () => {
    expect(segmentsOf(publishedTemplates.llama3)).toBe(
      '[<|endoftext|>]<|start_header_id|>system<|end_header_id|>\n\nBe <|im_end|>.[<|eot_id|>]' +
        '<|start_header_id|>user<|end_header_id|>\n\nHi[<|eot_id|>]<|start_header_id|>assistant<|end_header_id|>\n\n' +
        '«Yo <|endoftext|>\ufdd00[<|eot_id|>]»<|start_header_id|>user<|end_header_id|>\n\nBye[<|eot_id|>]' +
        '<|start_header_id|>assistant<|end_header_id|>\n\n«ok[<|eot_id|>]»',
    );
  });

  it('Llama 2 has no generation prompt: the space before an answer is learned', () => {
    expect(segmentsOf(publishedTemplates.llama2, only, conversation.slice(3))).toBe(
      '[<|endoftext|>][INST] Bye [/INST]« ok [<|endoftext|>]»',
    );
  });

  it('Zephyr, with line breaks between its blocks', () => {
    expect(segmentsOf(publishedTemplates.zephyr, only, conversation.slice(3))).toBe(
      '<|user|>\nBye[<|endoftext|>]\n<|assistant|>\n«ok[<|endoftext|>]»',
    );
  });

  it("GPT-2's ends every message", () => {
    expect(segmentsOf(publishedTemplates.gpt2, only, conversation.slice(3))).toBe(
      'Bye[<|endoftext|>]«ok[<|endoftext|>]»',
    );
  });

  it('values of its variables come from the tokenizer', () => {
    const variables = { eos_token: '<|eot_id|>', bos_token: '<|im_start|>' };
    const template = parseTemplate(publishedTemplates.llama2, 'mine', variables);
    expect(shown(new ChatFormat(template, all).segments(conversation.slice(3)))).toBe(
      '[<|im_start|>][INST] Bye [/INST]« ok [<|eot_id|>]»',
    );
  });

  it('none can ask for the date', () => {
    const source = "{{ strftime_now('%Y') if strftime_now is defined else 'no clock ' }}";
    expect(segmentsOf(source + publishedTemplates.gpt2, only, conversation.slice(3))).toMatch(/^no clock Bye/);
  });
});

it('a row of one turn is rendered twice: there are many', () => {
  for (const source of Object.values(publishedTemplates)) {
    const template = parseTemplate(source, 'mine');
    const format = new ChatFormat(template, all);
    expect(format.endTokens).toContain(all.endOfText);
    const render = vi.spyOn(template, 'render');
    format.segments(conversation.slice(3));
    expect(render).toHaveBeenCalledTimes(2);
    expect(format.endToken).toBe(format.endTokens[0]);
    expect(render).toHaveBeenCalledTimes(2);
  }
});

describe('a long conversation', () => {
  const names: BuiltInTemplate[] = ['alpaca', 'chatml', 'plain'];
  /** The same template, which the code does not recognise as one that is built in. */
  const unknown = (name: BuiltInTemplate) => parseTemplate(`${builtInTemplates[name]}{# #}`, 'mine');
  const texts = ['a', '\n', ' b ', '<|im_end|>', '<|endoftext|>', '### Response:', '\ufdd0\ufdd1'];
  const talk = (turns: number, seed: number): Message[] => {
    const text = (index: number) => texts.filter((_, bit) => (seed * 31 + index * 7) & (1 << bit)).join('') || 'c';
    const messages = Array.from({ length: 2 * turns }, (_, index): Message => {
      if (index % 2 === 1) return { role: 'assistant', content: text(index) };
      if (index % 3 > 0) return { role: 'user', content: text(index) };
      const [instruction, input] = [text(index), text(index + 1)];
      return { role: 'user', content: `${instruction}\n\n${input}`, instruction, input };
    });
    return seed % 2 === 0 ? messages : [{ role: 'system', content: text(99) }, ...messages];
  };

  it.each(names)('in the template %s has the parts that rendering each of its beginnings gives', (name) => {
    for (let seed = 0; seed < 40; seed++) {
      const messages = talk(1 + (seed % 5), seed);
      const [fast, slow] = [new ChatFormat(builtInTemplate(name), all), new ChatFormat(unknown(name), all)];
      expect(fast.segments(messages)).toEqual(slow.segments(messages));
      expect(fast.prompt(messages.slice(0, -1))).toEqual(slow.prompt(messages.slice(0, -1)));
    }
  });

  it.each(names)('in the template %s takes work in proportion to its messages', (name) => {
    const messages = talk(500, 0);
    const template = builtInTemplate(name);
    const render = vi.spyOn(template, 'render');
    expect(new ChatFormat(template, all).segments(messages).filter(({ isTarget }) => isTarget).length).toBeGreaterThan(
      499,
    );
    for (const [rendered] of render.mock.calls) expect(rendered.length).toBeLessThanOrEqual(2);
    expect(render.mock.calls.length).toBeLessThan(1010);
    // Rendering every beginning is more work than the bound on it.
    expect(refusalOf(() => new ChatFormat(unknown(name), all).segments(messages))).toMatch(/more than 1000000 steps/);
  });
});

describe('refused templates, by name', () => {
  const turns = "{% for m in messages %}{{ m.role + ':' + m.content + eos_token }}{% endfor %}";
  it.each([
    ['not Jinja', '{% for %}', /^the chat template mine is not a Jinja template that can be read: /],
    [
      'shows how many messages there are',
      `{{ messages | length }}${turns}`,
      /^the chat template mine renders message 3 differently/,
    ],
    [
      'shortens earlier answers',
      "{% for m in messages %}{{ m.content if loop.last or m.role == 'user' else m.content[:1] }}{{ eos_token }}{% endfor %}",
      /^the chat template mine renders message 3 differently/,
    ],
    [
      'leaves out answers',
      "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}",
      /mine leaves out the text of the assistant/,
    ],
    [
      'refuses the conversation',
      "{{ raise_exception('no system message') }}",
      'the chat template mine cannot render this conversation: no system message',
    ],
    [
      'too long a range',
      '{% for i in range(10001) %}a{% endfor %}',
      /cannot render this conversation: range: expected at most 10000 numbers/,
    ],
    [
      'too much text',
      "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(22) %}{% set ns.x = ns.x + ns.x %}{% endfor %}{{ ns.x }}",
      /mine cannot render this conversation: a text of 33554432 characters: expected at most 16777216/,
    ],
    ['too long a source', 'x'.repeat(2 ** 18 + 1), /mine has 262145 characters: expected at most 262144\./],
  ])('%s', (_, source, message) => {
    expect(refusalOf(() => segmentsOf(source))).toMatch(message);
  });

  it('leaves out answers, where a message of the user is the mark for their end', () => {
    const source = "{% for m in messages if m.role == 'user' %}{{ m.content }}{% endfor %}";
    const odd: Message[] = [
      { role: 'user', content: '\ufdd0\ufdd1' },
      { role: 'assistant', content: 'ok' },
    ];
    expect(refusalOf(() => segmentsOf(source, all, odd))).toMatch(/mine leaves out the text of the assistant/);
  });

  it('too much work in all renderings of a conversation, each of which is allowed', () => {
    const source = `{% for i in range(4000) %}{% endfor %}${publishedTemplates.gpt2}`;
    expect(segmentsOf(source)).toContain('«ok');
    const long = Array.from({ length: 20 }, () => conversation.slice(3)).flat();
    expect(refusalOf(() => segmentsOf(source, all, long))).toMatch(
      /mine cannot render this conversation: it takes more than 1000000 steps\. Shorten the conversation, or use/,
    );
  });

  it('a tokenizer without an end-of-document token', () => {
    expect(refusalOf(() => segmentsOf(publishedTemplates.gpt2, tokenizerWith('<|im_end|>')))).toMatch(
      /^the tokenizer characters has no end-of-document token, so a model could not learn to end an answer\. Name one of its special tokens as eos_token/,
    );
    expect(refusalOf(() => segmentsOf(publishedTemplates.gpt2, tokenizerWith()))).toMatch(
      /learn to end an answer\. Start from weights with another tokenizer, or train a new model with data\.tokenizer/,
    );
  });
});
