/**
 * One of libvirt's streams as a Node stream.
 *
 * Libvirt has no flow control for a stream: whoever does not read stops everything on its connection. So each stream
 * has a connection of its own, and back-pressure is simply not reading it.
 */
import { Duplex } from "node:stream";

import type { CallOptions } from "./call-options.ts";
import { LibvirtAbortError, LibvirtProtocolError, type LibvirtClientError } from "./errors.ts";
import { onAbort } from "./on-abort.ts";
import { encodeHeader, maxStreamPayloadBytes, packetStatus, packetType, type Packet } from "./packet.ts";
import { procedureAddress, programVersion, type ProcedureName } from "./procedures.ts";
import { errorReply } from "./reply-errors.ts";
import type { ReadReply, Rpc, StreamReceiver, WriteArguments } from "./rpc.ts";

export interface StreamCall<T> {
  name: ProcedureName;
  write: WriteArguments;
  read: ReadReply<T>;
  /** `both`: to end one's own side ends the stream, as libvirt can't close one side alone. */
  direction: "in" | "out" | "both";
}

export interface OpenedStream<T> {
  reply: T;
  stream: Duplex;
}

/** Opens a stream on a connection that is its own and ends with it. */
export async function openStream<T>(
  rpc: Rpc,
  call: StreamCall<T>,
  options: CallOptions,
): Promise<OpenedStream<T>> {
  let stream: RemoteStream | undefined;
  try {
    const reply = await rpc.call(call.name, call.write, call.read, options, (serial) => {
      stream = createRemoteStream(rpc, call, serial);
      return stream.receiver;
    });
    if (stream === undefined) throw new Error("unreachable: the call succeeded without its stream");
    stream.answered();
    return { reply, stream: endedBy(stream.duplex, call.name, options.signal) };
  } catch (error) {
    stream?.duplex.on("error", () => undefined).destroy();
    rpc.transport.destroy();
    throw error;
  }
}

interface RemoteStream {
  duplex: Duplex;
  receiver: StreamReceiver;
  /** Its call has succeeded. */
  answered(): void;
}

function createRemoteStream(rpc: Rpc, call: StreamCall<unknown>, serial: number): RemoteStream {
  const { input, output } = rpc.transport;
  const address = { ...procedureAddress(call.name), version: programVersion };
  // What to do when the daemon has confirmed that it has everything.
  let onFinished: ((error?: Error) => void) | undefined;
  let finishSent = false;
  let finished = false;
  // Libvirt's main loop sends what there is before the thread of the call has sent the answer, at times. Who stopped to read
  // then, with more than anybody takes yet, would never come to the answer.
  let mayPause = false;

  const send = (status: number, body?: Uint8Array, callback?: (error?: Error | null) => void): void => {
    const header = encodeHeader(
      { ...address, type: packetType.stream, serial, status },
      body === undefined ? 0 : body.length,
    );
    if (body === undefined) {
      output.write(header, callback);
      return;
    }
    output.cork();
    output.write(header);
    output.write(body, callback);
    output.uncork();
  };

  const sendFinish = (): void => {
    if (finishSent) return;
    finishSent = true;
    // The confirmation comes after whatever is still to be read.
    if (call.direction === "out") input.resume();
    send(packetStatus.ok);
  };

  const sides = { readable: call.direction !== "out", writable: call.direction !== "in" };
  const duplex = new Duplex({
    ...sides,
    allowHalfOpen: true,
    read() {
      input.resume();
    },
    write(chunk: Buffer, _encoding, callback) {
      // After the other side has ended there is nobody to read it, as with a pipe.
      if (finishSent) return callback(new LibvirtProtocolError("the stream has ended on libvirt's side"));
      let at = 0;
      while (chunk.length - at > maxStreamPayloadBytes) {
        send(packetStatus.continue, chunk.subarray(at, at + maxStreamPayloadBytes));
        at += maxStreamPayloadBytes;
      }
      send(packetStatus.continue, chunk.subarray(at), callback);
    },
    final(callback) {
      if (finished) return callback();
      onFinished = callback;
      sendFinish();
    },
    destroy(error, callback) {
      rpc.forgetStream(serial);
      // No word of it to the daemon first: behind bytes that the guest does not read, libvirtd 9 never comes to an abort.
      // The end of its connection it notices at once, unless five of the client's messages wait; an abort would be one.
      rpc.transport.destroy();
      callback(error);
    },
  });

  // It may break in the same breath as it opens, before anybody can listen; its readers and writers hear of it anyway.
  duplex.on("error", () => {});

  /** The daemon has nothing more to send; a stream that only comes in ends when it has confirmed that all went well. */
  const onEnd = (): void => {
    if (call.direction === "both") endBoth();
    else sendFinish();
  };
  const endBoth = (): void => {
    sendFinish();
    if (!duplex.readableEnded) duplex.push(null);
  };
  const onFinish = (): void => {
    if (!finishSent && call.direction === "out") {
      duplex.destroy(new LibvirtProtocolError(`libvirt ended ${call.name} before it had everything`));
      return;
    }
    finished = true;
    finishSent = true;
    if (call.direction !== "out" && !duplex.readableEnded) duplex.push(null);
    // Nothing more can be written; a writer that still waits hears of it by its next write.
    if (call.direction === "both" && !duplex.writableEnded) duplex.end();
    onFinished?.();
  };

  return {
    duplex,
    receiver: {
      onPacket(packet: Packet) {
        if (duplex.destroyed) return;
        if (packet.status === packetStatus.error) duplex.destroy(errorReply(call.name, packet.body));
        else if (packet.status === packetStatus.ok) onFinish();
        else if (packet.type !== packetType.stream) {
          duplex.destroy(
            new LibvirtProtocolError(`libvirt sent a hole that nobody asked for (${call.name})`),
          );
        } else if (packet.body.length === 0) onEnd();
        else if (!duplex.push(packet.body) && mayPause) input.pause();
      },
      onLost(error: LibvirtClientError) {
        duplex.destroy(error);
      },
    },
    answered() {
      mayPause = true;
      if (duplex.readableLength >= duplex.readableHighWaterMark) input.pause();
    },
  };
}

/** The signal that opened a stream also ends it. */
function endedBy(stream: Duplex, name: ProcedureName, signal: AbortSignal | undefined): Duplex {
  if (signal === undefined) return stream;
  const abort = (reason: unknown): void => void stream.destroy(new LibvirtAbortError(name, reason));
  stream.once("close", onAbort(signal, abort));
  return stream;
}
