/** The phrases that scripts/check-words.mjs reports, each with what to write instead. Case does not matter; a space is any white space. */

/** @typedef {readonly [pattern: string, plain: string]} Phrase */

/** Words and turns of phrase that make a reader stop. */
const stiff = [
  ['(?:go|goes|went|gone|going) on\\b(?! (?:a|the) )', 'continue, resume, keep running'],
  ['whole(?! numbers?\\b)', 'complete, entire, full, all'],
  [
    '(?:is|are|was|were) (?:not )?there(?= (?:already|and|or|when|if|for)\\b|\\s*[.,;:)]|$)',
    'exists, is available, is present',
  ],
  ['what is (?:not )?there', 'the existing ..., the available ...'],
  [
    '(?<!\\bthere )(?:is|are|was|were) no(?! (?:longer|more|less|fewer|better|worse|larger|smaller|doubt)\\b)(?= \\w)',
    'is not a',
  ],
  ['(?<!\\bthere )(?:is|are|was|were) none', 'is not one, does not exist'],
  ['(?:that|which) (?:is|are) no longer', 'no longer ...'],
  ['so many', 'N, a number of, this many, per'],
  ['whoever', 'anyone who, the caller, the client, the process that'],
  [
    '(?<!\\b(?:anyone|someone|everyone|those|user|users|reader|readers|people|person) )who (?:has|holds|knows|reads|wants)',
    'anyone who, the user who',
  ],
  ['of ours', 'our, this process’s'],
  ['it is so that', 'leave it out'],
  ['for the (?:first|second|third) time here', 'duplicate'],
  ['stands? (?:here|there) for the', 'is a duplicate'],
  [
    'stands? (?:in|on|at|below|above|beside|before|after|behind|between|here|where|alone)',
    'is in, appears in, comes before',
  ],
  [
    '(?:lie|lies|lay) (?:in|on|at|under|beside|below|next|before|behind|inside|there|where|beyond)',
    'is in, is stored in',
  ],
  ['lets? (?:it|them|him|her|us|one|this|that|all) go', 'releases, removes, stops'],
  ['(?:is|are|not|be) taken for (?:it|one|them|that|a|an|the)', 'is not treated as, is mistaken for'],
  ['(?:take|takes|took) \\S+ for it', 'assume, treat as'],
  ['goes? to waste', 'is wasted'],
  ['as it were', 'leave it out'],
  ['(?:is|are) to be', 'must be, will be'],
  ['and so on to the', 'until the'],
  ['such an? one', 'this one'],
  ['of a kind with', 'like'],
  ['is a (?:mistake|error|fault) of', 'is a mistake in'],
  ['at any instant', 'at any time'],
  ['now and then', 'periodically, from time to time'],
  ['hard to take back', 'hard to reverse'],
  ['begin(?:s|ning)? anew', 'starts over, is reset'],
  [
    '(?:wherein|whereby|whereupon|therein|thereof|thereby|therewith|hereby|herein|hitherto|lest|albeit|amongst|whilst)',
    'which, so, although, among, while',
  ],
  ['each and every', 'each'],
  ['in order to', 'to'],
  ['(?:due to|in spite of|despite) the fact that', 'because, although'],
  ['utili[sz](?:e|es|ed|ing)', 'use'],
];

/** Words of an advertisement: say what it does and give the number. */
const marketing = [
  ['blazing(?:ly)?', 'the measured speed'],
  ['lightning[- ]fast', 'the measured speed'],
  ['(?:ultra|super)[- ]?fast', 'the measured speed'],
  ['seamless(?:ly)?', 'what happens, step by step'],
  ['effortless(?:ly)?', 'what the user has to do'],
  ['(?:cutting|bleeding)[- ]edge', 'leave it out'],
  ['state[- ]of[- ]the[- ]art', 'the number it is compared with'],
  ['world[- ]class', 'leave it out'],
  ['best[- ]in[- ]class', 'leave it out'],
  ['next[- ]generation', 'leave it out'],
  ['game[- ]chang(?:er|ing)', 'leave it out'],
  ['revolutionary', 'leave it out'],
  ['powerful', 'what it can do'],
  ['production[- ](?:grade|ready)', 'what was tested'],
  ['enterprise[- ]grade', 'what was tested'],
  ['battle[- ]tested', 'what was tested'],
  ['out of the box', 'without configuration'],
  ['leverag(?:e|es|ed|ing)', 'use'],
  ['unleash(?:es|ed)?', 'leave it out'],
  ['supercharge[sd]?', 'leave it out'],
  ['delightful', 'leave it out'],
  ['just works', 'what it does'],
];

/** @type {readonly Phrase[]} */
export const phrases = [...stiff, ...marketing];
