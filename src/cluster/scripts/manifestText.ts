/** YAML of manifests. */
import { stringify } from 'yaml';

/** A manifest before it is text. */
export type Manifest = Readonly<Record<string, unknown>>;

/**
 * Several documents, after a comment. Words that YAML 1.1 takes for something else, such as `on` or `1:30`, are quoted, because
 * Kubernetes reads YAML 1.1.
 * @param comment lines, without the `#`
 */
export function manifestText(comment: readonly string[], documents: readonly Manifest[]): string {
  const head = comment.map((line) => `# ${line}`.trimEnd()).join('\n');
  const body = documents.map((document) => stringify(document, { compat: 'yaml-1.1', lineWidth: 0 })).join('---\n');
  return `${head}\n${body}`;
}

/** A word that neither Kubernetes, in `args`, nor Docker Compose replaces: both read `$$` as one `$`. */
export function literal(word: string): string {
  return word.replaceAll('$', '$$$$');
}
