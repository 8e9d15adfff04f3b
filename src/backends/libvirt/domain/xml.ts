/** Reading libvirt's XML. */
import { XMLParser } from "fast-xml-parser";

/** An element: attributes are keys that start with `@`, its text is `#text`, the rest are its children. */
export type XmlElement = Readonly<Record<string, unknown>>;

const parser = new XMLParser({
  ignoreAttributes: false,
  attributeNamePrefix: "@",
  parseTagValue: false,
  parseAttributeValue: false,
});

/** Parses a document; what cannot be parsed is an empty element. */
export function parseXml(text: string): XmlElement {
  try {
    const parsed: unknown = parser.parse(text);
    return isElement(parsed) ? parsed : {};
  } catch {
    return {};
  }
}

/** The elements at a path of names; several where elements repeat. Elements without attributes or children don't count. */
export function elementsAt(root: XmlElement, ...path: string[]): XmlElement[] {
  let found: XmlElement[] = [root];
  for (const name of path) {
    found = found.flatMap((element) => {
      const value = element[name];
      return (Array.isArray(value) ? value : [value]).filter(isElement);
    });
  }
  return found;
}

/** The text of the first child of this name. */
export function textOf(element: XmlElement | undefined, name: string): string | undefined {
  const value = element?.[name];
  const first: unknown = Array.isArray(value) ? value[0] : value;
  if (typeof first === "string") return first;
  const text = isElement(first) ? first["#text"] : undefined;
  return typeof text === "string" ? text : undefined;
}

/** The value of an attribute. */
export function attributeOf(element: XmlElement | undefined, name: string): string | undefined {
  const value = element?.[`@${name}`];
  return typeof value === "string" ? value : undefined;
}

function isElement(value: unknown): value is XmlElement {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
