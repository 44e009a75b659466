/** A template cannot work without end: every way to do much in a short source counts. */
import { expect, it } from 'vitest';
import { RenderBudget } from '../../../src/task/renderBudget.ts';
import { parseTemplate } from '../../../src/task/template.ts';
import { refusalOf } from './refusal.ts';
import { publishedTemplates } from './templates.ts';

const messages = Array.from({ length: 20 }, () => ({ role: 'user', content: 'Hi' }) as const);
const render = (source: string, budget: RenderBudget) =>
  parseTemplate(source, 'mine').render(messages, { addGenerationPrompt: true, end: '<end>', budget });

const list = '{% set all = range(1000) %}';
const text = "{% set ns = namespace(x='a') %}{% for i in range(20) %}{% set ns.x = ns.x + ns.x %}{% endfor %}";
it.each([
  ['loops in loops', "{% for i in range(1000) %}{% for j in range(1000) %}{{ 'a' }}{% endfor %}{% endfor %}"],
  ['empty loops in loops', `${list}{% for i in all %}{% for j in all %}{% endfor %}{% endfor %}`],
  ['loops that leave out everything', `${list}{% for i in all %}{% for j in all if j < 0 %}{% endfor %}{% endfor %}`],
  ['copies of a list', `${list}{% for i in all %}{% set b = all | list %}{% endfor %}`],
  ['uses of a long list', `${list}{% for i in all %}{% set b = 1001 in all %}{% endfor %}`],
  ['uses of a long text', `${text}{% for i in range(1000) %}{% set b = 'b' in ns.x %}{% endfor %}`],
  [
    'macros that call themselves twice',
    '{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(30) }}',
  ],
])('%s', (_, source) => {
  expect(refusalOf(() => render(source, new RenderBudget(50_000)))).toMatch(
    /^the chat template mine cannot render this conversation: it takes more than 50000 steps\. Shorten/,
  );
});

it('what published templates do is far below the bound, and renderings share a budget', () => {
  const budget = new RenderBudget(10_000);
  for (const source of Object.values(publishedTemplates)) expect(render(source, budget)).toContain('Hi');
  expect(refusalOf(() => render(publishedTemplates.llama3.repeat(20), budget))).toMatch(/more than 10000 steps/);
});
