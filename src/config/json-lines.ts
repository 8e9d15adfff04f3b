/**
 * In which line each key of a JSON text stands (from 1), by dotted path. The text must be valid JSON; keys inside
 * arrays are left out, as no setting has them.
 */
export function locateJsonKeys(text: string): Map<string, number> {
  const lines = new Map<string, number>();
  const path: string[] = [];
  let pendingKey: string | undefined;
  let arrayDepth = 0;
  const tokens = /"(?:[^"\\]|\\.)*"(\s*:)?|[{}[\]]|\n/g;
  let line = 1;
  for (const token of text.matchAll(tokens)) {
    const [lexeme, colon] = token;
    if (lexeme === "\n") {
      line += 1;
    } else if (lexeme === "{") {
      path.push(pendingKey ?? "");
      pendingKey = undefined;
    } else if (lexeme === "}") {
      path.pop();
    } else if (lexeme === "[" || lexeme === "]") {
      arrayDepth += lexeme === "[" ? 1 : -1;
    } else {
      if (colon !== undefined) {
        pendingKey = String(JSON.parse(lexeme.slice(0, lexeme.length - colon.length)));
        const dotted = [...path.slice(1), pendingKey].join(".");
        if (arrayDepth === 0) lines.set(dotted, line);
      }
      line += lexeme.split("\n").length - 1;
    }
  }
  return lines;
}
