import { describe, expect, it } from "vitest";

import { LibvirtUriError } from "./errors.ts";
import { parseConnectionUri } from "./uri.ts";

describe("connection URIs", () => {
  it.each([
    ["qemu:///session", { transport: "unix", scope: "session", driverUri: "qemu:///session" }],
    ["qemu:///system", { transport: "unix", scope: "system", host: undefined }],
    ["qemu+unix:///system?socket=/tmp/a%20b", { transport: "unix", socketPath: "/tmp/a b" }],
    [
      "qemu+tcp://host/system",
      { transport: "tcp", host: "host", port: undefined, driverUri: "qemu:///system" },
    ],
    ["qemu+tcp://[::1]:16510/system", { transport: "tcp", host: "::1", port: 16510 }],
    [
      "qemu+ssh://me@host:2222/session?keyfile=/k&no_verify=1&command=/usr/bin/ssh",
      {
        transport: "ssh",
        user: "me",
        host: "host",
        port: 2222,
        ssh: {
          command: "/usr/bin/ssh",
          keyFile: "/k",
          verifyHost: false,
          proxy: "auto",
          netcat: "nc",
        },
      },
    ],
    ["QEMU+SSH://host/system", { transport: "ssh", host: "host" }],
  ])("%s is understood", (text, expected) => {
    expect(parseConnectionUri(text)).toMatchObject(expected);
  });

  it.each([
    ["", "not a libvirt URI"],
    ["qemu", "not a libvirt URI"],
    ["qemu:/session", "not a libvirt URI"],
    ["http://host/system", 'unknown driver "http"'],
    ["xen:///system", 'unknown driver "xen"'],
    ["qemu+carrier://host/system", 'unknown transport "carrier"'],
    ["qemu+tls://host/system", '"tls"'],
    ["qemu://host/system", "TLS"],
    ["qemu:///", "must end in /session or /system"],
    ["qemu:///sessions", "must end in /session or /system"],
    ["qemu+tcp:///system", "names no host"],
    ["qemu+unix://host/system", "a unix socket has none"],
    ["qemu+ssh://-oProxyCommand=id/system", 'starts with "-"'],
    ["qemu+ssh://-l@host/system", 'starts with "-"'],
    ["qemu+ssh://%2Dx/system", 'starts with "-"'],
    ["qemu+ssh://a%20b/system", "blank"],
    ["qemu+ssh://host:0/system", "between 1 and 65535"],
    ["qemu+ssh://host:99999/system", "between 1 and 65535"],
    ["qemu+ssh://host:x/system", "can't tell user, host and port"],
    ["qemu+tcp://[host]/system", "not an IPv6 address"],
    ["qemu+ssh://host/system?pkipath=/x", 'unknown parameter "pkipath"'],
    ["qemu+ssh://host/system?no_verify=maybe", "not one of 0, 1"],
    ["qemu+ssh://host/system?socket=%zz", "false % sequence"],
  ])("%s is refused: %s", (text, message) => {
    expect(() => parseConnectionUri(text)).toThrow(LibvirtUriError);
    expect(() => parseConnectionUri(text)).toThrow(message);
  });
});
