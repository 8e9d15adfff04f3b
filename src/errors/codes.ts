/**
 * Every way in which heyvm can fail, once. The HTTP status, the exit code and whether trying again can help all follow
 * from the code, so that the API, the SDK and the CLI never disagree.
 *
 * Exit codes: 1 failure, 2 usage, 3 not found, 4 conflict with what exists, 5 backend trouble, 124 timeout.
 */
export const errorCodes = {
  // What the caller asked for cannot be.
  invalid_argument: { status: 400, exit: 2, retryable: false },
  unauthorized: { status: 401, exit: 1, retryable: false },
  sandbox_not_found: { status: 404, exit: 3, retryable: false },
  image_not_found: { status: 404, exit: 3, retryable: false },
  template_not_found: { status: 404, exit: 3, retryable: false },
  shell_not_found: { status: 404, exit: 3, retryable: false },
  path_not_found: { status: 404, exit: 3, retryable: false },
  route_not_found: { status: 404, exit: 3, retryable: false },
  ambiguous_reference: { status: 409, exit: 4, retryable: false },
  name_taken: { status: 409, exit: 4, retryable: false },
  image_in_use: { status: 409, exit: 4, retryable: false },
  template_in_use: { status: 409, exit: 4, retryable: false },
  wrong_state: { status: 409, exit: 4, retryable: false },
  unsupported: { status: 422, exit: 5, retryable: false },
  settings_invalid: { status: 422, exit: 2, retryable: false },

  // Images.
  image_invalid: { status: 422, exit: 1, retryable: false },
  image_checksum_mismatch: { status: 502, exit: 1, retryable: true },
  download_failed: { status: 502, exit: 1, retryable: true },

  // The host.
  backend_unavailable: { status: 503, exit: 5, retryable: true },
  backend_failed: { status: 500, exit: 5, retryable: true },
  disk_full: { status: 507, exit: 1, retryable: true },
  permission_denied: { status: 403, exit: 1, retryable: false },
  daemon_unavailable: { status: 503, exit: 1, retryable: true },

  // The guest.
  guest_unresponsive: { status: 504, exit: 124, retryable: true },
  guest_misbehaved: { status: 502, exit: 5, retryable: false },
  guest_failed: { status: 502, exit: 1, retryable: false },
  command_not_startable: { status: 422, exit: 126, retryable: false },

  timeout: { status: 504, exit: 124, retryable: true },
  aborted: { status: 499, exit: 130, retryable: true },
  internal: { status: 500, exit: 1, retryable: false },
} as const satisfies Record<string, { status: number; exit: number; retryable: boolean }>;

/** The closed set of failure causes. */
export type ErrorCode = keyof typeof errorCodes;
