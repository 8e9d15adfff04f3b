import { type Command, Option } from "commander";

import { formatSize } from "../../config/size.ts";
import type { ImageInfo, SupportedImage } from "../../sdk/index.ts";
import { parseImage, parseImageSource } from "../arguments/image.ts";
import { confirm } from "../confirm.ts";
import { connectForImages } from "../connect-for-images.ts";
import { createInvocation } from "../invocation.ts";
import { define as definePull } from "./pull.ts";
import { withProgress } from "../with-progress.ts";
import { printImage, printRemoved } from "../output/results.ts";
import { printable } from "../output/text.ts";

export function define(command: Command): void {
  command.usage("<command>").helpCommand(false).addHelpText("after", examples);
  defineList(command.command("list").alias("ls").description("list the images on this machine"));
  defineSupported(command.command("supported").description("list the images that can be had by name"));
  definePull(
    command.command("pull").description("download an image and verify it (the same as `heyvm pull`)"),
  );
  defineAdd(command.command("add").description("give a name to an image of your own"));
  defineRemove(command.command("rm").alias("remove").description("remove images"));
  definePrune(command.command("prune").description("remove images that nobody uses"));
}

const examples = `
Examples:
  heyvm images supported
  heyvm images pull debian:12
  heyvm images add mine ./disk.qcow2
  heyvm images rm mine`;

function defineList(command: Command): void {
  command.action(async () => {
    const invocation = createInvocation(command);
    const images = await (await connectForImages(invocation)).images.list({ signal: invocation.signal });
    if (invocation.json) invocation.printJson(images);
    else if (images.length === 0) invocation.note("no images yet; get one: heyvm pull debian:12");
    else {
      invocation.printTable<ImageInfo>(
        [
          { title: "NAME", value: ({ name }) => name },
          { title: "SIZE", value: ({ sizeBytes }) => formatSize(sizeBytes) },
          { title: "DISK", value: ({ virtualSizeBytes }) => formatSize(virtualSizeBytes) },
          { title: "ARCH", value: ({ architecture }) => architecture },
          { title: "VERIFIED", value: ({ verified }) => (verified ? "yes" : "no") },
          { title: "IN USE", value: ({ inUse }) => (inUse ? "yes" : "no") },
          { title: "PATH", value: ({ path }) => path, flexible: true },
        ],
        images,
      );
    }
  });
}

function defineSupported(command: Command): void {
  command.action(async () => {
    const invocation = createInvocation(command);
    const images = await (await connectForImages(invocation)).images.supported({ signal: invocation.signal });
    if (invocation.json) {
      invocation.printJson(images);
      return;
    }
    invocation.printTable<SupportedImage>(
      [
        { title: "NAME", value: (image) => (image.default ? `${image.name} (default)` : image.name) },
        { title: "HERE", value: ({ path }) => (path === null ? "no" : "yes") },
        { title: "DESCRIPTION", value: ({ description }) => description },
        { title: "FROM", value: ({ url }) => url, flexible: true },
      ],
      images,
    );
  });
}

function defineAdd(command: Command): void {
  command
    .argument("<name>", "the name to ask for it by")
    .argument("<source>", "path or URL", parseImageSource)
    .addOption(new Option("--checksum <checksum>", "what it must have: sha256:… or sha512:…"))
    .action(async (name: string, source: string, flags: { checksum?: string }) => {
      const invocation = createInvocation(command);
      const { images } = await connectForImages(invocation);
      const image = await withProgress(invocation, (options) =>
        images.add(name, source, { ...options, ...flags }),
      );
      printImage(invocation, image);
    });
}

function defineRemove(command: Command): void {
  command
    .argument("<image...>", "names or paths")
    .addOption(new Option("-y, --yes", "don't ask; needed where there is no terminal"))
    .action(async (names: string[], flags: { yes?: boolean }) => {
      const invocation = createInvocation(command);
      if (flags.yes !== true && !(await confirm(invocation, `Remove ${printable(names.join(", "))}?`)))
        return;
      const { images } = await invocation.connect();
      for (const name of names) {
        await images.remove(parseImage(name), { signal: invocation.signal });
        if (invocation.json) invocation.printJson({ name, removed: true });
        else invocation.print(`removed ${name}`);
      }
    });
}

function definePrune(command: Command): void {
  command
    .addOption(new Option("--everything", "also those that were only downloaded and are not used now"))
    .action(async (flags: { everything?: boolean }) => {
      const invocation = createInvocation(command);
      const { images } = await invocation.connect();
      printRemoved(invocation, await images.prune({ ...flags, signal: invocation.signal }));
    });
}
