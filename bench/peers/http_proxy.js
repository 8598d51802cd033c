// node http-proxy:  node http_proxy.js PORT ORIGIN
"use strict";
const http = require("node:http");
const httpProxy = require("http-proxy");

const [port, target] = process.argv.slice(2);
const agent = new http.Agent({ keepAlive: true });
const proxy = httpProxy.createProxyServer({ target, agent, xfwd: true, ws: true });
proxy.on("error", (error, request, response) => {
  if (response.writeHead) response.writeHead(502);
  response.end();
});
const server = http.createServer((request, response) => proxy.web(request, response));
server.on("upgrade", (request, socket, head) => proxy.ws(request, socket, head));
server.listen(Number(port), "127.0.0.1", 4096);
