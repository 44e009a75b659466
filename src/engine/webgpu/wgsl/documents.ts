/** The starts of documents, as the embedding programs take them. */

/** The bindings of a program, with those of documents if it knows them. */
export function documentBindings<B extends object>(bindings: B, hasDocuments: boolean): B {
  return hasDocuments ? { ...bindings, starts: 'read i32' } : bindings;
}
