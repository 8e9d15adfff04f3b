/** One connection to libvirt for the whole backend: opened when needed, opened anew when it was lost. */
import { AbortedError, HeyvmError, InvalidArgumentError } from "../../../errors/index.ts";
import {
  connectLibvirt,
  LibvirtAbortError,
  LibvirtAuthError,
  LibvirtConnectError,
  type LibvirtConnection,
  LibvirtConnectionLostError,
  LibvirtError,
  LibvirtUriError,
  startSystemDaemon,
} from "../../../libvirt/index.ts";
import { LibvirtPermissionError, LibvirtUnreachableError, libvirtFailure } from "../errors.ts";
import { untilAborted } from "../../../core/until-aborted.ts";

export interface CallContext {
  /** For people, in the message of a failure: `starting sb-1a2b3c4d`. */
  what: string;
  signal: AbortSignal;
  /** Whether the call may be made again when the connection broke in its middle. */
  repeatable?: boolean | undefined;
  /**
   * What is made in libvirt comes into being also when nobody waits for the answer, and then perhaps only after whoever has
   * given it up has cleaned up. So such a call goes on until it is answered.
   */
  makes?: boolean | undefined;
}

export interface LibvirtLink {
  readonly uri: string;
  /** Makes calls on the connection, each with the signal that `work` gets; what libvirt throws becomes a `HeyvmError`. */
  use<T>(
    context: CallContext,
    work: (connection: LibvirtConnection, signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
  /** Called with every new connection, before anybody uses it. */
  onConnect(listener: (connection: LibvirtConnection) => Promise<void>): void;
  /** Called when a connection is lost without our doing. */
  onLost(listener: () => void): void;
  /** Aborts with `close`: from then on every use fails. */
  readonly closed: AbortSignal;
  warnings: () => readonly string[];
  close: () => Promise<void>;
}

/** How long a daemon that was there may be away before that is an error. */
const restartTimeoutMs = 5_000;
/** How long a call that makes something may go on when it was given up: whoever waits for the clean-up waits for it. */
const makingTimeoutMs = 30_000;

export function createLibvirtLink(uri: string, env: NodeJS.ProcessEnv = process.env): LibvirtLink {
  const connectListeners: ((connection: LibvirtConnection) => Promise<void>)[] = [];
  const lostListeners: (() => void)[] = [];
  const warnings: string[] = [];
  let current: Promise<LibvirtConnection> | undefined;
  const closing = new AbortController();
  let hadConnection = false;

  function connection(): Promise<LibvirtConnection> {
    if (current !== undefined) return current;
    const opening = open();
    current = opening;
    // By then, another may have taken its place.
    const forget = () => {
      if (current === opening) current = undefined;
    };
    const watch = async (connection: LibvirtConnection) => {
      await connection.closed;
      forget();
      if (!closing.signal.aborted) for (const listener of lostListeners) listener();
    };
    opening.then(watch, forget);
    return opening;
  }

  async function open(): Promise<LibvirtConnection> {
    try {
      const connection = await connectPatiently();
      hadConnection = true;
      try {
        for (const listener of connectListeners) await listener(connection);
      } catch (error) {
        await connection.close();
        throw error;
      }
      return connection;
    } catch (error) {
      throw connectFailure(uri, error);
    }
  }

  /** A daemon that restarts is away for a moment, and the next one cannot start until the old one has left. */
  async function connectPatiently(): Promise<LibvirtConnection> {
    const deadline = performance.now() + (hadConnection ? restartTimeoutMs : 0);
    for (;;) {
      try {
        return await connectOrStart();
      } catch (error) {
        if (!(error instanceof LibvirtConnectError) || performance.now() > deadline) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    }
  }

  async function connectOrStart(): Promise<LibvirtConnection> {
    try {
      return await connectLibvirt(uri, { env });
    } catch (error) {
      // A container or a CI runner: root, and no service manager that would start libvirt.
      const forRoot = process.getuid?.() === 0 && /^qemu(\+unix)?:\/\/\/(system|session)$/.test(uri);
      if (!(error instanceof LibvirtConnectError) || !forRoot) throw error;
      const started = await startSystemDaemon({ env });
      // All of them below one supervisor, whose process id each has.
      const names = `${started.map(({ program }) => program).join(" and ")} (process ${started[0]?.pid})`;
      if (started.length > 0) warnings.push(`no libvirt was running: started ${names}`);
      return connectLibvirt(uri, { env });
    }
  }

  async function use<T>(
    context: CallContext,
    work: (connection: LibvirtConnection, signal: AbortSignal) => Promise<T>,
  ): Promise<T> {
    const { what, signal, repeatable = true, makes = false } = context;
    if (closing.signal.aborted)
      throw new HeyvmError("backend_failed", `${what}: the libvirt backend was closed`);
    if (signal.aborted) throw new AbortedError(what, signal.reason);
    using late = makes ? afterwards(signal, makingTimeoutMs) : undefined;
    for (let attempt = 1; ; attempt += 1) {
      const used = connection();
      try {
        // Shared by all who wait for it, so that one who leaves must not end it.
        const result = await work(await untilAborted(used, what, signal), late?.signal ?? signal);
        // Who has left is told so, whatever was made.
        if (late !== undefined) signal.throwIfAborted();
        return result;
      } catch (error) {
        if (
          error instanceof LibvirtConnectionLostError &&
          repeatable &&
          attempt < 3 &&
          !closing.signal.aborted
        ) {
          // Another call may have opened the next one already.
          if (current === used) current = undefined;
          if (signal.aborted) throw new AbortedError(what, error);
          continue;
        }
        if (error instanceof LibvirtAbortError || signal.aborted) throw new AbortedError(what, error);
        throw libvirtFailure(what, error);
      }
    }
  }

  return {
    uri,
    use,
    onConnect: (listener) => void connectListeners.push(listener),
    onLost: (listener) => void lostListeners.push(listener),
    closed: closing.signal,
    warnings: () => warnings,
    async close() {
      closing.abort();
      const open = await current?.catch(() => undefined);
      await open?.close();
    },
  };
}

/** Aborts as another signal does, but so many milliseconds later. */
function afterwards(signal: AbortSignal, delayMs: number): Disposable & { signal: AbortSignal } {
  const late = new AbortController();
  let timer: NodeJS.Timeout | undefined;
  const begin = () => {
    timer = setTimeout(() => late.abort(signal.reason), delayMs);
  };
  signal.addEventListener("abort", begin, { once: true });
  return {
    signal: late.signal,
    [Symbol.dispose]() {
      signal.removeEventListener("abort", begin);
      clearTimeout(timer);
    },
  };
}

function connectFailure(uri: string, error: unknown): Error {
  if (error instanceof LibvirtUriError) {
    return new InvalidArgumentError(
      "uri",
      `${JSON.stringify(uri)} is no URI that heyvm can use: ${error.message}`,
      {
        cause: error,
        hint: "use qemu:///session, qemu:///system, qemu+ssh://user@host/system or qemu+tcp://host/system",
      },
    );
  }
  if (error instanceof LibvirtAuthError || isPermission(error)) return new LibvirtPermissionError(uri, error);
  if (error instanceof LibvirtConnectError || error instanceof LibvirtError) {
    return new LibvirtUnreachableError(uri, reachHint(uri), error);
  }
  return libvirtFailure(`connecting to ${uri}`, error);
}

function isPermission(error: unknown): boolean {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if ("code" in cause && cause.code === "EACCES") return true;
  }
  return LibvirtError.hasCode(error, "authenticationFailed", "operationDenied", "accessDenied");
}

function reachHint(uri: string): string {
  if (uri.includes("+ssh")) return "check that this works: ssh -o BatchMode=yes HOST virsh version";
  if (uri.includes("+tcp")) return "check that the host's libvirt listens on TCP, or use qemu+ssh://";
  if (uri.endsWith("/system")) return "heyvm doctor --fix, or use qemu:///session";
  return "heyvm doctor";
}
