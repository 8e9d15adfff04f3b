import stringWidth from "string-width";
import { describe, expect, test } from "vitest";

import { HeyvmError, InvalidArgumentError } from "../../errors/index.ts";
import { exitCodeOf, renderError } from "./errors.ts";
import { createStyle, usesColors } from "./style.ts";
import { renderTable } from "./table.ts";
import { printable, truncate } from "./text.ts";
import { coarse, formatSeconds, formatSpan } from "./time.ts";

const plain = createStyle(false);

describe("colours", () => {
  test("only on a terminal, never against NO_COLOR, always with FORCE_COLOR", () => {
    expect(usesColors({ isTTY: true }, {})).toBe(true);
    expect(usesColors({ isTTY: false }, {})).toBe(false);
    expect(usesColors({ isTTY: true }, { NO_COLOR: "1" })).toBe(false);
    expect(usesColors({ isTTY: true }, { TERM: "dumb" })).toBe(false);
    expect(usesColors({ isTTY: false }, { FORCE_COLOR: "1" })).toBe(true);
  });
});

describe("text", () => {
  test("what could steer the terminal is shown, not sent", () => {
    expect(printable("a\u001B]0;owned\u0007b")).toBe("a\\x1b]0;owned\\x07b");
    expect(printable("line\nbreak")).toBe("line\\x0abreak");
    expect(printable("\u202Eevil")).toBe("\\u202eevil");
    expect(printable("a\udcff💀")).toBe("a\\xff💀");
  });

  test("wide characters count two columns, combining ones none", () => {
    expect(stringWidth("日本")).toBe(4);
    expect(stringWidth("e\u0301")).toBe(1);
    expect(truncate("日本語", 5)).toBe("日本…");
    expect(truncate("short", 5)).toBe("short");
  });

  test("spans and ages", () => {
    expect([400, 12_345, 185_000, 8_040_000, 273_600_000].map(formatSpan)).toEqual([
      "0.4s",
      "12.3s",
      "3m05s",
      "2h14m",
      "3d4h",
    ]);
    expect([1400, 65_000].map(formatSeconds)).toEqual(["1s", "1m05s"]);
    expect([42_000, 300_000, 7_200_000].map(coarse)).toEqual(["42s", "5m", "2h"]);
  });
});

describe("tables", () => {
  const columns = [
    { title: "ID", value: (row: { id: string }) => row.id },
    { title: "NAME", value: (row: { name: string }) => row.name, flexible: true },
    { title: "SIZE", value: () => "1" },
  ];
  const rows = [
    { id: "sb-1", name: "a-very-long-name-indeed" },
    { id: "sb-22", name: "b" },
  ];

  test("columns are aligned and nothing is cut without a width", () => {
    expect(renderTable(columns, rows)).toEqual([
      "ID     NAME                     SIZE",
      "sb-1   a-very-long-name-indeed  1",
      "sb-22  b                        1",
    ]);
  });

  test("a narrow terminal cuts the flexible column", () => {
    const lines = renderTable(columns, rows, { width: 24 });
    expect(lines.every((line) => stringWidth(line) <= 24)).toBe(true);
    expect(lines[1]).toBe("sb-1   a-very-lon…  1");
  });
});

describe("narrow tables", () => {
  test("optional columns are left out, the last first, when cutting is not enough", () => {
    const columns = [
      { title: "ID", value: () => "sb-0000000a" },
      { title: "TYPE", value: () => "shell", optional: true },
      { title: "CPUS", value: () => "1", optional: true },
    ];
    expect(renderTable(columns, [{}], { width: 18 })).toEqual(["ID           TYPE", "sb-0000000a  shell"]);
    expect(renderTable(columns, [{}], { width: 5 })).toEqual(["ID", "sb-0000000a"]);
  });
});

describe("errors", () => {
  const report = { format: "text", debug: false, style: plain, exitCode: 2 } as const;

  test("message and hint for people", () => {
    const error = new InvalidArgumentError("--ttl", '--ttl: "x" is not a duration', { hint: "30s" });
    expect(renderError(error, report)).toBe('error: --ttl: "x" is not a duration\n  hint: 30s\n');
    expect(exitCodeOf(error)).toBe(2);
  });

  test("one line of JSON for programs", () => {
    const error = new HeyvmError("sandbox_not_found", "there is no sandbox x", {
      details: { reference: "x" },
    });
    const text = renderError(error, { ...report, format: "json", exitCode: 3 });
    expect(text.endsWith("}\n")).toBe(true);
    expect(JSON.parse(text)).toEqual({
      error: "there is no sandbox x",
      code: "sandbox_not_found",
      details: { reference: "x" },
      retryable: false,
      exit_code: 3,
    });
  });

  test("an escape sequence in a message does not reach the terminal", () => {
    expect(renderError(new HeyvmError("internal", "a\u001B[2Jb"), report)).not.toContain("\u001B");
  });
});
