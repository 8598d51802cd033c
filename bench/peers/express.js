// What a team would write without a sidecar: the Activity server calls the gateway itself.  node express.js PORT ORIGIN
"use strict";
const http = require("node:http");
const express = require("express");
const axios = require("axios");

const [port, origin] = process.argv.slice(2);
const gateway = axios.create({
  baseURL: `${origin}/api`,
  timeout: 3000,
  httpAgent: new http.Agent({ keepAlive: true }),
});
let token;
const authorization = async () => {
  if (!token) {
    const answer = await gateway.post("/auth/token", { discordId: "bench", username: "bench", roles: [] });
    token = answer.data.token;
  }
  return { Authorization: `Bearer ${token}` };
};
const app = express();
app.use(express.json());
app.get("/api/kaltura/video/:id", async (request, response) => {
  try {
    const path = `/videos/${encodeURIComponent(request.params.id)}`;
    const { video } = (await gateway.get(path, { headers: await authorization() })).data;
    if (!video || !video.id) return response.status(404).json({ error: "Video not found" });
    return response.json({
      id: video.id,
      title: video.title,
      description: video.description || "",
      duration: video.duration || 0,
      thumbnailUrl: video.thumbnailUrl || "",
      partnerId: video.partnerId,
      createdAt: video.createdAt,
      views: video.views || 0,
      playUrl: video.playUrl,
      userId: video.userId,
    });
  } catch (error) {
    return response.status(500).json({ error: "Failed to fetch video" });
  }
});
app.get("/mock/:id", (request, response) =>
  response.json({
    id: request.params.id,
    title: `Sample Video (${request.params.id})`,
    description: "This is a sample video for development and testing purposes.",
    duration: 120,
    thumbnailUrl: "https://cdn.example.com/640x360",
    partnerId: "",
    createdAt: new Date().toISOString(),
    views: 100,
  }),
);
app.listen(Number(port), "127.0.0.1");
