import { describe, expect, test } from "vitest";

import { type Ask, completionCandidates } from "./completion-candidates.ts";
import { buildProgram, loadVerb } from "./program.ts";
import { verbs } from "./verbs.ts";

const noDaemon: Ask = async () => await Promise.resolve(undefined);

async function complete(...words: string[]): Promise<string[]> {
  const candidates = await completionCandidates(await buildProgram("1"), words, loadVerb, noDaemon);
  return candidates.map(({ value }) => value);
}

describe("completion", () => {
  test("verbs, without the hidden ones", async () => {
    expect(await complete("re")).toEqual(["restart", "resume"]);
    expect(await complete("__")).toEqual([]);
  });

  test("options of the verb and global ones", async () => {
    expect(await complete("exec", "web", "--u")).toEqual(["--user", "--uri"]);
    expect(await complete("list", "--for")).toEqual(["--format"]);
    for (const verb of ["create", "run"]) expect(await complete(verb, "--no-c")).toEqual(["--no-clone"]);
    expect(await complete("templates", "build", "--no-c")).toEqual([]);
  });

  test("values of an option, also of a global one before the verb", async () => {
    expect(await complete("create", "--type", "p")).toEqual(["python"]);
    expect(await complete("--format", "")).toEqual(["text", "json"]);
    expect(await complete("--format", "json", "ki")).toEqual(["kill"]);
  });

  test("verbs below a verb", async () => {
    expect(await complete("images", "s")).toEqual(["supported"]);
  });

  test("the guest's words after -- are not ours to complete", async () => {
    expect(await complete("exec", "web", "--", "-")).toEqual([]);
  });

  test("every verb can be loaded and has a description", async () => {
    const program = await buildProgram("1", { all: true });
    expect(program.commands.map((command) => command.name())).toEqual(verbs.map(({ name }) => name));
    expect(program.commands.filter((command) => command.description() === "")).toEqual([]);
  });
});
