/** Where the API is: a unix socket, or a URL with a token. */
export type Endpoint =
  | { readonly kind: "socket"; readonly socketPath: string }
  | { readonly kind: "url"; readonly url: URL; readonly token: string | undefined };

/** For messages: `/home/a/.heyo/heyvm.sock` or `http://host:3000`. */
export function describeEndpoint(endpoint: Endpoint): string {
  return endpoint.kind === "socket" ? endpoint.socketPath : endpoint.url.origin;
}
