/** Lines of a stream that may have none. */

const newline = 0x0a;

/** Each line without its end; one that is longer than `maxBytes` comes in pieces, so that no buffer grows with it. */
export async function* cutLines(stream: AsyncIterable<Buffer>, maxBytes = 65_536): AsyncGenerator<Buffer> {
  let rest: Buffer[] = [];
  let length = 0;
  for await (const chunk of stream) {
    let start = 0;
    while (start < chunk.length) {
      const end = chunk.indexOf(newline, start);
      const upTo = Math.min(end < 0 ? chunk.length : end, start + maxBytes - length);
      rest.push(chunk.subarray(start, upTo));
      length += upTo - start;
      const isEnd = upTo === end;
      start = isEnd ? end + 1 : upTo;
      if (!isEnd && length < maxBytes) continue;
      yield Buffer.concat(rest);
      rest = [];
      length = 0;
    }
  }
  if (length > 0) yield Buffer.concat(rest);
}
