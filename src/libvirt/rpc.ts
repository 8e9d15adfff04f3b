/** Calls in flight on one pipe: each has a serial number, a deadline and a signal; replies come in any order. */
import type { CallOptions } from "./call-options.ts";
import {
  LibvirtAbortError,
  LibvirtClientError,
  LibvirtConnectionLostError,
  LibvirtProtocolError,
  LibvirtTimeoutError,
} from "./errors.ts";
import { onAbort } from "./on-abort.ts";
import { createPacketReader, encodePacket, packetStatus, packetType, type Packet } from "./packet.ts";
import {
  keepAliveProcedure,
  keepAliveProgram,
  procedureAddress,
  programVersion,
  remoteProgram,
  type ProcedureName,
} from "./procedures.ts";
import type { Transport } from "./transport.ts";
import { callSite, errorReply, misread, tellSite } from "./reply-errors.ts";
import { XdrReader, XdrWriter } from "./xdr.ts";

/** Receives what comes on a stream that a call has opened. */
export interface StreamReceiver {
  onPacket(packet: Packet): void;
  onLost(error: LibvirtClientError): void;
}

/** Both take what they need from closures; `write` must not keep the writer. */
export type WriteArguments = (writer: XdrWriter) => unknown;
export type ReadReply<T> = (reader: XdrReader) => T;

export interface Rpc {
  readonly transport: Transport;
  /** Why it is of no use any more; `undefined` while it is open. */
  readonly lostBecause: LibvirtClientError | undefined;
  readonly callsInFlight: number;
  /** `performance.now()` of the last sign of life. */
  readonly lastHeardMs: number;
  call<T>(
    name: ProcedureName,
    write: WriteArguments,
    read: ReadReply<T>,
    options?: CallOptions,
    /** Made before the call is sent, so that nothing of its stream can be missed; gets the call's serial number. */
    stream?: (serial: number) => StreamReceiver,
  ): Promise<T>;
  /** Receives the events of the `remote` program with this procedure number. */
  onEvent(procedure: number, handler: (reader: XdrReader) => void): void;
  forgetStream(serial: number): void;
  /** Is called once when the pipe has ended or `fail` was called, after the calls have failed. Returns how to stop. */
  onLost(listener: (error: LibvirtClientError) => void): () => void;
  sendPing(): void;
  /** Fails every call and stream with this one error and ends the pipe. The first reason stays. */
  fail(error: LibvirtClientError): void;
}

interface PendingCall {
  succeed(reader: XdrReader): void;
  /** The daemon's answer is an error. */
  refuse(body: Buffer): void;
  fail(error: LibvirtClientError): void;
}

/** Longer waits overflow Node's timers; they are none. */
const maxTimerMs = 2 ** 31 - 1;

/** For calls without arguments, or without an answer. */
export const nothing = (): void => undefined;

export function createRpc(transport: Transport, peer: string, defaultTimeoutMs: number): Rpc {
  const calls = new Map<number, PendingCall>();
  const streams = new Map<number, StreamReceiver>();
  const eventHandlers = new Map<number, (reader: XdrReader) => void>();
  const lostListeners = new Set<(error: LibvirtClientError) => void>();
  let lostBecause: LibvirtClientError | undefined;
  let lastSerial = 0;
  let lastHeardMs = performance.now();

  const fail = (error: LibvirtClientError): void => {
    if (lostBecause !== undefined) return;
    lostBecause = error;
    transport.destroy();
    const pending = [...calls.values()];
    const receivers = [...streams.values()];
    calls.clear();
    streams.clear();
    for (const call of pending) call.fail(error);
    for (const receiver of receivers) receiver.onLost(error);
    for (const listener of lostListeners) listener(error);
    lostListeners.clear();
  };

  const reader = createPacketReader((packet) => receive(packet));
  transport.input.on("data", (chunk: Buffer) => {
    lastHeardMs = performance.now();
    if (lostBecause !== undefined) return;
    try {
      reader.push(chunk);
    } catch (error) {
      fail(
        error instanceof LibvirtClientError
          ? error
          : new LibvirtProtocolError(`could not understand ${peer}`, { cause: error }),
      );
    }
  });
  void transport.ended.then((reason) =>
    fail(new LibvirtConnectionLostError(`the connection to ${peer} was lost`, reason)),
  );

  function receive(packet: Packet): void {
    if (packet.program === keepAliveProgram) {
      if (packet.procedure === keepAliveProcedure.ping) sendKeepAlive(keepAliveProcedure.pong);
      return;
    }
    if (packet.type === packetType.reply) receiveReply(packet);
    else if (packet.type === packetType.stream || packet.type === packetType.streamHole) {
      // A stream that was given up: what is under way for it is of no use to anybody.
      streams.get(packet.serial)?.onPacket(packet);
    } else if (packet.type === packetType.event && packet.program === remoteProgram) {
      eventHandlers.get(packet.procedure)?.(new XdrReader(packet.body));
    }
  }

  function receiveReply(packet: Packet): void {
    const call = calls.get(packet.serial);
    // Given up by its signal or deadline.
    if (call === undefined) return;
    if (packet.status === packetStatus.ok) call.succeed(new XdrReader(packet.body));
    else if (packet.status === packetStatus.error) call.refuse(packet.body);
    else throw new LibvirtProtocolError(`libvirt answered with the status ${packet.status}`);
  }

  function sendKeepAlive(procedure: number): void {
    const header = { program: keepAliveProgram, version: programVersion, procedure };
    transport.output.write(
      encodePacket(
        { ...header, type: packetType.event, serial: 0, status: packetStatus.ok },
        Buffer.alloc(0),
      ),
    );
  }

  function call<T>(
    name: ProcedureName,
    write: WriteArguments,
    read: ReadReply<T>,
    options: CallOptions = {},
    stream?: (serial: number) => StreamReceiver,
  ): Promise<T> {
    const { signal, timeoutMs = defaultTimeoutMs } = options;
    const site = callSite(call);
    return new Promise((resolve, reject) => {
      if (lostBecause !== undefined) return reject(lostBecause);
      if (signal?.aborted === true) return reject(new LibvirtAbortError(name, signal.reason));

      const serial = (lastSerial = nextSerial(lastSerial, calls, streams));
      const packet = encodeCall(name, serial, write);
      const timer =
        timeoutMs <= maxTimerMs
          ? setTimeout(() => giveUp(new LibvirtTimeoutError(name, timeoutMs)), timeoutMs)
          : undefined;
      const forgetSignal = onAbort(signal, (reason) => giveUp(new LibvirtAbortError(name, reason)));

      const settle = (): void => {
        calls.delete(serial);
        clearTimeout(timer);
        forgetSignal();
      };
      const fail = (error: Error): void => {
        settle();
        streams.delete(serial);
        reject(error);
      };
      const giveUp = (error: LibvirtClientError): void => fail(tellSite(error, site));

      calls.set(serial, {
        refuse: (body) => giveUp(errorReply(name, body)),
        succeed(reader) {
          settle();
          try {
            const value = read(reader);
            reader.end();
            resolve(value);
          } catch (error) {
            giveUp(misread(name, error));
          }
        },
        fail,
      });
      if (stream !== undefined) streams.set(serial, stream(serial));
      transport.output.write(packet);
    });
  }

  return {
    transport,
    get lostBecause() {
      return lostBecause;
    },
    get callsInFlight() {
      return calls.size;
    },
    get lastHeardMs() {
      return lastHeardMs;
    },
    call,
    onEvent(procedure, handler) {
      eventHandlers.set(procedure, handler);
    },
    forgetStream(serial) {
      streams.delete(serial);
    },
    onLost(listener) {
      lostListeners.add(listener);
      return () => void lostListeners.delete(listener);
    },
    sendPing() {
      sendKeepAlive(keepAliveProcedure.ping);
    },
    fail,
  };
}

function encodeCall(name: ProcedureName, serial: number, write: WriteArguments): Buffer {
  const writer = new XdrWriter();
  write(writer);
  const header = { ...procedureAddress(name), version: programVersion, type: packetType.call, serial };
  return encodePacket({ ...header, status: packetStatus.ok }, writer.finish());
}

/** Serial numbers are 32 bits wide and 0 is for events; a very long connection comes round to old ones. */
function nextSerial(last: number, ...taken: readonly ReadonlyMap<number, unknown>[]): number {
  let serial = last;
  do serial = serial >= 0xffff_fffe ? 1 : serial + 1;
  while (taken.some((map) => map.has(serial)));
  return serial;
}
