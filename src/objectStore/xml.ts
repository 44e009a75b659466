/** Reads and writes the little XML that object stores speak: flat elements, without attributes that matter. */

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

/** The texts of all elements of this name, with entities replaced. */
export function textsOf(xml: string, name: string): string[] {
  return elementsOf(xml, name).map(unescaped);
}

/** The text of the first element of this name. */
export function textOf(xml: string, name: string): string | undefined {
  return textsOf(xml, name)[0];
}

/** The insides of all elements of this name; none is inside another of the same name. */
export function elementsOf(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}(?: [^>]*)?>([\\s\\S]*?)</${name}>`, 'g'))].map(([, inside]) => inside!);
}

function unescaped(text: string): string {
  return text.replace(
    /&(?:#x([0-9a-fA-F]{1,6})|#(\d{1,7})|(\w{1,6}));/g,
    (whole, hex?: string, decimal?: string, name?: string) => {
      if (name !== undefined) return entities[name] ?? whole;
      const code = hex === undefined ? Number(decimal) : Number.parseInt(hex, 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}

/** Text as the content of an element. */
export function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&${Object.keys(entities).find((name) => entities[name] === char)!};`);
}
