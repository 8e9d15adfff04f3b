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
    afterBody(request, () => {
      if (!isKept) request.socket.destroySoon();
    });
  });
}

/** Reads on and throws away what comes, until the body's end; `then` is not called for a sender who knows none. */
export function afterBody(request: IncomingMessage, then: () => void): void {
  if (request.readableEnded) {
    then();
    return;
  }
  const timer = setTimeout(() => request.socket.destroySoon(), lingerMs);
  request.once("close", () => clearTimeout(timer));
  request.once("end", () => {
    clearTimeout(timer);
    then();
  });
  request.on("data", () => undefined);
  request.resume();
}
