import { type Command, Option } from "commander";

import { parseImage } from "../arguments/image.ts";
import { connectForImages } from "../connect-for-images.ts";
import { createInvocation } from "../invocation.ts";
import { printImage } from "../output/results.ts";
import { withProgress } from "../with-progress.ts";

export function define(command: Command): void {
  command
    .argument("<image>", "name or URL; see `heyvm images supported`", parseImage)
    .addOption(new Option("--force", "download it again, also when it is there"))
    .addHelpText(
      "after",
      `
The download is checked against the publisher's checksums before it may be used; one that was broken off goes on where
it stopped.

Example:
  heyvm pull debian:12`,
    )
    .action(async (image: string, flags: { force?: boolean }) => {
      const invocation = createInvocation(command, {
        stopping: "stopping; the next pull goes on with what came so far; once more to leave at once",
      });
      const { images } = await connectForImages(invocation);
      printImage(
        invocation,
        await withProgress(invocation, (options) => images.pull(image, { ...options, ...flags })),
      );
    });
}
