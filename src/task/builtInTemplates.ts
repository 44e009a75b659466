/**
 * The chat templates that come with Lockstep, as Jinja sources: transformers renders them to the same text. What each message adds depends on
 * that message alone, except for the first.
 */

const preamble =
  'Below is an instruction that describes a task. Write a response that appropriately completes the request.';

/** By name, as `task.template` has them. */
export const builtInTemplates = {
  /** Stanford Alpaca's headings. A system message replaces the first sentence. */
  alpaca: [
    `{% if messages[0].role == 'system' %}{{ messages[0].content }}{% else %}{{ '${preamble}' }}{% endif %}`,
    "{% for message in messages %}{% if message.role == 'user' %}{{ '\\n\\n### Instruction:\\n' }}",
    "{% if message.input %}{{ message.instruction + '\\n\\n### Input:\\n' + message.input }}{% else %}{{ message.content }}{% endif %}",
    "{% elif message.role == 'assistant' %}{{ '\\n\\n### Response:\\n' + message.content + eos_token }}{% endif %}{% endfor %}",
    "{% if add_generation_prompt %}{{ '\\n\\n### Response:\\n' }}{% endif %}",
  ].join(''),
  /** ChatML, with the tokenizer's end-of-document token where ChatML has `<|im_end|>`. */
  chatml: [
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content + eos_token + '\\n' }}{% endfor %}",
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  ].join(''),
  /** The texts and nothing else; each answer ends with the end-of-document token. */
  plain:
    "{% for message in messages %}{{ message.content }}{% if message.role == 'assistant' %}{{ eos_token }}{% endif %}{% endfor %}",
} as const;

/** Whether a template, such as that of a checkpoint, is one of these, after the names of begin tokens if the tokenizer has some. */
export function isBuiltInSource(source: string): boolean {
  return Object.values<string>(builtInTemplates).some(
    (own) => source.endsWith(own) && !source.slice(0, -own.length).includes('{'),
  );
}

/** The name of a built-in template. */
export type BuiltInTemplate = keyof typeof builtInTemplates;

/** Whether a template of this name comes with Lockstep. */
export function isBuiltInTemplate(name: string): name is BuiltInTemplate {
  return Object.hasOwn(builtInTemplates, name);
}
