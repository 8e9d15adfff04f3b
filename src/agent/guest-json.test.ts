import { assert, json, property, uint8Array } from "fast-check";
import { describe, expect, test } from "vitest";

import { agentError } from "./agent-errors.ts";
import { GuestMisbehavedError } from "./errors.ts";
import { guestInteger, guestNumber, parseGuestJson } from "./guest-json.ts";
import { guestText } from "./guest-text.ts";

describe("the guest's JSON", () => {
  test("is an object or a protocol error, whatever the bytes", () => {
    assert(
      property(uint8Array(), json(), (bytes, text) => {
        for (const input of [Buffer.from(bytes), text, `{"a":${text}}`]) {
          expect(parsed(Buffer.from(input))).toBeTypeOf("object");
        }
      }),
    );
  });

  test("is refused when it nests too deep, but brackets in text don't count", () => {
    expect(() => parseGuestJson(Buffer.from(`{"a":${"[".repeat(20)}${"]".repeat(20)}}`))).toThrow(/deep/u);
    expect(parseGuestJson(Buffer.from(`{"a":"${"[".repeat(99)}\\"{"}`))).toHaveProperty("a");
  });

  test("has its numbers in their range or not at all", () => {
    for (const text of ["1e400", "-1", "1.5", '"1"', "null", "9007199254740993", "true", "[]"]) {
      expect(() => guestInteger(parseGuestJson(Buffer.from(`{"n":${text}}`)), "n", 0, 2 ** 53 - 1)).toThrow(
        GuestMisbehavedError,
      );
    }
    expect(() => guestNumber({ n: Infinity }, "n")).toThrow(GuestMisbehavedError);
    expect(guestInteger({ n: 5 }, "n", 0, 5)).toBe(5);
  });
});

describe("the guest's texts", () => {
  test("lose control characters and length", () => {
    expect(guestText("a\u001B[31mred\u0007\r\nb\u009Bc\u202Ed")).toBe("a [31mred b c d");
    expect(guestText("x".repeat(5000)).length).toBeLessThan(510);
  });

  test("become errors with few and short details", () => {
    const details = Object.fromEntries(Array.from({ length: 99 }, (_, at) => [`k${at}`, "v".repeat(9999)]));
    const error = agentError({
      code: "constructor",
      message: "\u001B]0;owned\u0007",
      details: { ...details, x: {} },
    });
    expect(error.code).toBe("guest_failed");
    expect(error.message).toBe("]0;owned");
    expect(JSON.stringify(error.details).length).toBeLessThan(3000);
  });
});

/** What was parsed, or the protocol error. */
function parsed(bytes: Buffer): unknown {
  try {
    return parseGuestJson(bytes);
  } catch (error) {
    if (error instanceof GuestMisbehavedError) return error;
    throw error;
  }
}
