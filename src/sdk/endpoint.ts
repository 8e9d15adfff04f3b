import { NotFoundError } from "./remote-error.ts";

/** Where the API is: a unix socket, or a URL with a token. */
export type Endpoint =
  | { readonly kind: "socket"; readonly socketPath: string }
  | { readonly kind: "url"; readonly url: URL; readonly token: string | undefined };

/** For messages: `/home/a/.heyo/heyvm.sock` or `http://host:3000`. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === "socket" ? endpoint.socketPath : endpoint.url.origin;
}

/** RFC 3986, 5.2.4: in a path, these are no names but ways through it. */
const dotSegments = new Set(["", ".", ".."]);

/** Where the API has a sandbox, by whatever it is called: an id, the beginning of one, a slug or a name. */
export function sandboxPath(reference: string): string {
  if (dotSegments.has(reference)) {
    const error = `there is no sandbox ${JSON.stringify(reference)}`;
    throw new NotFoundError({
      title: "Not found",
      status: 404,
      detail: error,
      error,
      code: "sandbox_not_found",
      hint: "heyvm list --all",
      details: { reference },
      retryable: false,
      request_id: "",
    });
  }
  return `/sandboxes/${encodeURIComponent(reference)}`;
}
