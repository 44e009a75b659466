/** Sorts what the library exports by the folder that it comes from: one chapter each. */
import { Comment, CommentTag, Converter } from 'typedoc';

const chapters = {
  run: 'Training and using models',
  config: 'Configs',
  coordinator: 'Following a run',
  comm: 'Following a run',
  records: 'Following a run',
  data: 'Data and tokenizers',
  task: 'Data and tokenizers',
  architecture: 'Models',
  model: 'Models',
  checkpoint: 'Models',
  engine: 'Engines',
  base: 'Errors and the rest',
};

/** @param {import('typedoc').Application} app */
export function load(app) {
  app.converter.on(Converter.EVENT_RESOLVE_BEGIN, (context) => {
    for (const reflection of context.project.children ?? []) {
      const file = context.getSymbolFromReflection(reflection)?.declarations?.[0]?.getSourceFile().fileName ?? '';
      const chapter = chapters[/\/src\/(\w+)\//.exec(file)?.[1]];
      if (chapter === undefined) throw new Error(`${reflection.name} comes from ${file}, which has no chapter`);
      // A function's documentation is its signature's.
      for (const documented of reflection.signatures ?? [reflection]) {
        documented.comment ??= new Comment();
        documented.comment.blockTags.push(new CommentTag('@category', [{ kind: 'text', text: chapter }]));
      }
    }
  });
}
