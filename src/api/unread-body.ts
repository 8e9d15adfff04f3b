/**
 * Requests that are answered while their body still arrives. Who closes a connection with bytes unread resets it, and the
 * sender may lose the answer (RFC 9112, 9.6): it would be told of a daemon that died, and not of what it did wrong.
 */
import type { IncomingMessage, ServerResponse } from "node:http";

/** For a sender that is slow to look at its answer; then it is cut off, as it may send for ever. */
const lingerMs = 5000;

/** The body. Who leaves it early, because it is too long or nobody wants it any more, can still answer. */
export function bodyOf(request: IncomingMessage): AsyncIterable<Buffer> {
  return request.iterator({ destroyOnReturn: false });
}

/** To be called before the head of an answer that may come before the body's end. */
export function lingerForAnswer(request: IncomingMessage, response: ServerResponse): void {
  if (request.complete) return;
  const isKept = response.shouldKeepAlive;
  // Else Node closes the connection as soon as the answer is written.
  response.shouldKeepAlive = true;
  response.once("finish", () => {
    const { socket } = request;
    const close = (): void => void (isKept || socket.destroySoon());
    if (request.readableEnded) return close();
    const timer = setTimeout(() => socket.destroySoon(), lingerMs);
    request.once("close", () => clearTimeout(timer));
    request.once("end", close);
    // Reads on, and throws away.
    request.on("data", () => undefined);
    request.resume();
  });
}
