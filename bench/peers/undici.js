// node undici, streaming both ways:  node undici.js PORT ORIGIN
"use strict";
const http = require("node:http");
const { Pool } = require("undici");

const [port, origin] = process.argv.slice(2);
const pool = new Pool(origin, { connections: 128 });
const hopByHop = new Set(["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade", "expect"]);
const endToEnd = (headers) =>
  Object.fromEntries(Object.entries(headers).filter(([name]) => !hopByHop.has(name)));

http
  .createServer((request, response) => {
    const { method, url: path } = request;
    const body = method === "GET" || method === "HEAD" ? null : request;
    pool.stream({ method, path, headers: endToEnd(request.headers), body }, ({ statusCode, headers }) => {
      response.writeHead(statusCode, endToEnd(headers));
      return response;
    }).catch(() => response.headersSent ? response.destroy() : response.writeHead(502).end());
  })
  .listen(Number(port), "127.0.0.1", 4096);
