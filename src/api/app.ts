/** The API's routes, put together. */
import { randomUUID } from "node:crypto";

import { OpenAPIHono } from "@hono/zod-openapi";
import { HTTPException } from "hono/http-exception";

import { packageVersion } from "../config/version.ts";
import { HeyvmError, InvalidArgumentError, toHeyvmError } from "../errors/index.ts";
import type { Log } from "../sandbox/index.ts";
import type { Api, ApiContext, ApiEnv } from "./api-env.ts";
import { toProblem } from "./problem.ts";
import { addExecuteRoutes } from "./routes/execute.ts";
import { addFileRoutes } from "./routes/files.ts";
import { addImageRoutes } from "./routes/images.ts";
import { addLifecycleRoutes } from "./routes/lifecycle.ts";
import { addSandboxRoutes } from "./routes/sandboxes.ts";
import { addSystemRoutes } from "./routes/system.ts";
import { addTemplateRoutes } from "./routes/templates.ts";
import type { ApiServices } from "./services.ts";
import { lingerForAnswer } from "./unread-body.ts";

/** No route has this path. */
export class RouteNotFoundError extends HeyvmError {
  constructor(method: string, path: string) {
    super("route_not_found", `there is no ${method} ${path}`, {
      hint: "all routes are in GET /openapi.json",
      details: { method, path },
    });
  }
}

/** All routes but the web sockets. */
export function createApp(services: ApiServices): Api {
  const api: Api = new OpenAPIHono<ApiEnv>();
  api.use(async (c, next) => {
    const requestId = randomUUID();
    c.set("requestId", requestId);
    c.set("signal", clientSignal(c));
    await next();
    c.header("x-request-id", requestId);
  });
  addSystemRoutes(api, services);
  addSandboxRoutes(api, services);
  addLifecycleRoutes(api, services);
  addExecuteRoutes(api, services);
  addFileRoutes(api, services);
  addImageRoutes(api, services);
  addTemplateRoutes(api, services);
  api.get("/openapi.json", (c) => c.json(openApiDocument(api)));
  api.notFound((c) => answerProblem(c, new RouteNotFoundError(c.req.method, c.req.path), services.log));
  api.onError((error, c) => answerProblem(c, error, services.log));
  return api;
}

/** The OpenAPI 3.1 document of the routes. */
export function openApiDocument(api: Api): object {
  return api.getOpenAPI31Document({
    openapi: "3.1.0",
    info: {
      title: "heyvm",
      version: packageVersion(),
      description: "Linux sandboxes for untrusted code, on your own hardware.",
      license: { name: "Apache-2.0" },
    },
  });
}

/** Aborts when the connection ends before the answer was sent in full. */
function clientSignal(c: ApiContext): AbortSignal {
  const gone = new AbortController();
  const { outgoing } = c.env;
  outgoing.once("close", () => {
    if (!outgoing.writableFinished) gone.abort(new Error("the client went away"));
  });
  return gone.signal;
}

function answerProblem(c: ApiContext, thrown: unknown, log: Log): Response {
  const error =
    thrown instanceof HTTPException
      ? new InvalidArgumentError("request", thrown.message, { cause: thrown })
      : toHeyvmError(thrown);
  const requestId = c.get("requestId");
  const problem = toProblem(error, requestId);
  const fields = { request_id: requestId, code: problem.code, method: c.req.method, path: c.req.path };
  if (problem.status >= 500) log.error({ ...fields, err: error }, error.message);
  else log.info(fields, error.message);
  lingerForAnswer(c.env.incoming, c.env.outgoing);
  return Response.json(problem, {
    status: problem.status,
    headers: { "content-type": "application/problem+json", "x-request-id": requestId },
  });
}
