/**
 * Writes the example data that comes with the package, as `data.examples: builtin` reads it: instructions.jsonl (sft), reviews.csv
 * (classify), preferences.jsonl (dpo, reward) and numbers.tsv (seq2seq). Every row is made from the words below by a seeded generator, so
 * the files are always the same bytes.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

const words =
  `able acid aged also area army away baby back ball band bank base bath bear beat bell belt best bird blow blue boat body bold bond
bone book born boss both bowl bulk burn bush busy cake call calm came camp card care case cash cast cell chat chip city club coal coat
code cold come cook cool cope copy core cost crew crop dark data date dawn days dead deal dear debt deep deny desk dial diet dirt disc
dish does done door dose down draw drew drop dual duke dust duty each earn ease east easy edge else even ever evil exit face fact fail
fair fall farm fast fate fear feed feel feet fell felt file fill film find fine fire firm fish five flat flow food foot ford form fort
four free from fuel full fund gain game gate gave gear gift girl give glad goal goat gold golf gone good grew grey grow gulf hair half
hall hand hang hard harm hate have head hear heat held help herb here hero hide high hill hire hold hole holy home hope host hour huge
hunt hurt idea inch into iron item join jump jury just keen keep kept kick kind king knee knew know lack lady laid lake lamp land lane
last late lead leaf left lens less life lift like line link list live load loan lock logo long look lord lose loss lost loud love luck
made mail main make male many mark mass meal mean meat meet menu mere mild mile milk mill mind mine miss mode mood moon more most move
much must name navy near neck need news next nice nine none nose note okay once only onto open oral over pace pack page paid pain pair
palm park part pass past path peak pick pile pink pipe plan play plot plug plus poem poet pole poll pool poor port post pour pray pull
pure push race rail rain rank rare rate read real rear rely rent rest rice rich ride ring rise risk road rock role roll roof room root
rose rule rush safe said sail sale salt same sand save seat seed seek seem seen self sell send sent ship shoe shop shot show shut side
sign silk sing site size skin slip slow snow soft soil sold sole some song soon sort soul spot star stay step stop such suit sure take
tale talk tall tank tape task team tech tell tend term test text than that them then they thin this thus tide till time tiny told toll
tone took tool tour town tree trip true tube tune turn twin type unit upon used user vary vast very vice view vote wage wait wake walk
wall want ward warm wash wave ways weak wear week well went were west what when whom wide wife wild will wind wine wing wire wise wish
with wood word wore work yard yeah year your zero zone`
    .split(/\s+/)
    .filter((word) => new Set(word).size > 1);

/** What can be asked about a word, and the answer. */
const questions = [
  { instruction: 'Reverse the word.', answer: (word) => [...word].reverse().join('') },
  { instruction: 'Write the word in capital letters.', answer: (word) => word.toUpperCase() },
  { instruction: 'Write the first letter.', answer: ([first]) => first },
  { instruction: 'Write the word twice.', answer: (word) => `${word} ${word}` },
];

const things = [
  'soup',
  'hotel room',
  'concert',
  'book',
  'phone',
  'train ride',
  'bread',
  'garden tour',
  'film',
  'jacket',
];
const adjectives = {
  // words: allow, because reviews are not texts of this project
  positive: 'amazing brilliant charming clever delightful excellent great lovely pleasant superb warm wonderful'.split(
    ' ',
  ),
  negative: 'awful boring broken cheap clumsy dirty dreadful dull horrible rude terrible ugly'.split(' '),
};
/**
 * Sentences about a thing. The class is that of `{b}`; `{a}` is an adjective of the other class, which a part of the sentences
 * have: there counting words misleads.
 */
const sentences = [
  'The {t} was {b}.',
  'I found the {t} {b}.',
  'They told us that the {t} is {b}.',
  'What a {b} {t}!',
  'A {b} {t}, and I will say so to everyone.',
  'My sister found the {t} {b} too.',
  'The {t} was {b} from start to finish.',
  'Simply {b}, this {t}.',
  'The {t} was not {a}.',
  'Nobody would call the {t} {a}.',
  'The {t} was anything but {a}.',
  'The {t} looked {a}, but it was {b}.',
  'Although the {t} looked {a}, it was {b}.',
];

/** mulberry32: a small generator of numbers from 0 to 1, the same on every machine. */
function generator(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let bits = Math.imul(state ^ (state >>> 15), 1 | state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** In an order that depends on the seed alone (Fisher and Yates). */
function shuffled(rows, seed) {
  const random = generator(seed);
  const result = [...rows];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(random() * (last + 1));
    [result[last], result[other]] = [result[other], result[last]];
  }
  return result;
}

const instructions = shuffled(
  words.flatMap((word) =>
    questions.map(({ instruction, answer }) => ({ instruction, input: word, output: answer(word) })),
  ),
  1,
);

const reviews = writeReviews(1200, 2);

/** Different reviews of both classes in turn, drawn by a seeded generator. */
function writeReviews(count, seed) {
  const random = generator(seed);
  const oneOf = (list) => list[Math.floor(random() * list.length)];
  const rows = new Map();
  while (rows.size < count) {
    const [label, other] = rows.size % 2 === 0 ? ['positive', 'negative'] : ['negative', 'positive'];
    const words = {
      t: oneOf(things),
      a: oneOf(adjectives[other]),
      b: oneOf(adjectives[label]),
    };
    const text = oneOf(sentences).replaceAll(/\{(\w+)\}/g, (_, name) => words[name]);
    if (!rows.has(text)) rows.set(text, { text, label });
  }
  return shuffled([...rows.values()], seed);
}

// The better answer is the right one; the other belongs to another question about the word.
const preferences = instructions.flatMap(({ instruction, input, output }, index) => {
  const other =
    questions[(questions.findIndex((question) => question.instruction === instruction) + 1 + (index % 3)) % 4];
  const rejected = other.answer(input);
  return rejected === output ? [] : [{ instruction, input, chosen: output, rejected }];
});

const english = {
  small:
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(
      ' ',
    ),
  tens: ['', '', 'twenty', 'thirty', 'forty', 'fifty', 'sixty', 'seventy', 'eighty', 'ninety'],
};
const spanish = {
  small: [
    ...'cero uno dos tres cuatro cinco seis siete ocho nueve diez once doce trece catorce quince dieciséis'.split(' '),
    ...'diecisiete dieciocho diecinueve veinte veintiuno veintidós veintitrés veinticuatro veinticinco'.split(' '),
    ...'veintiséis veintisiete veintiocho veintinueve'.split(' '),
  ],
  tens: ['', '', '', 'treinta', 'cuarenta', 'cincuenta', 'sesenta', 'setenta', 'ochenta', 'noventa'],
  hundreds: [
    ...['', 'ciento', 'doscientos', 'trescientos', 'cuatrocientos'],
    ...['quinientos', 'seiscientos', 'setecientos', 'ochocientos', 'novecientos'],
  ],
};

/** A number below 10,000 in English words. */
function inEnglish(number) {
  const [thousands, hundreds, rest] = [Math.floor(number / 1000), Math.floor(number / 100) % 10, number % 100];
  const unit = rest % 10 > 0 ? `-${english.small[rest % 10]}` : '';
  const small = rest < 20 ? english.small[rest] : english.tens[Math.floor(rest / 10)] + unit;
  const parts = [
    ...(thousands > 0 ? [`${english.small[thousands]} thousand`] : []),
    ...(hundreds > 0 ? [`${english.small[hundreds]} hundred`] : []),
  ];
  if (parts.length === 0) return small;
  return rest === 0 ? parts.join(' ') : `${parts.join(' ')} and ${small}`;
}

/** The same in Spanish. */
function inSpanish(number) {
  const [thousands, hundreds, rest] = [Math.floor(number / 1000), Math.floor(number / 100) % 10, number % 100];
  const unit = rest % 10 > 0 ? ` y ${spanish.small[rest % 10]}` : '';
  const small = rest < 30 ? spanish.small[rest] : spanish.tens[Math.floor(rest / 10)] + unit;
  const parts = [
    ...(thousands > 0 ? [thousands === 1 ? 'mil' : `${spanish.small[thousands]} mil`] : []),
    ...(hundreds > 0 ? [hundreds === 1 && rest === 0 ? 'cien' : spanish.hundreds[hundreds]] : []),
    ...(rest > 0 || number === 0 ? [small] : []),
  ];
  return parts.join(' ');
}

const numbers = shuffled(
  Array.from({ length: 10_000 }, (_, number) => number),
  3,
).slice(0, 2000);

const folder = process.argv[2] ?? join(import.meta.dirname, '..', 'data');
const jsonLines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
writeFileSync(join(folder, 'instructions.jsonl'), jsonLines(instructions));
writeFileSync(join(folder, 'preferences.jsonl'), jsonLines(preferences));
writeFileSync(
  join(folder, 'reviews.csv'),
  `text,label\n${reviews.map(({ text, label }) => `${text.includes(',') ? `"${text}"` : text},${label}\n`).join('')}`,
);
writeFileSync(
  join(folder, 'numbers.tsv'),
  `source\ttarget\n${numbers.map((number) => `${inEnglish(number)}\t${inSpanish(number)}\n`).join('')}`,
);
