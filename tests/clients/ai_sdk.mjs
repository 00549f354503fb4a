// What an application on Vercel's AI SDK does, with one of its providers: test_ai_sdk.py runs it
// and looks at the JSON that it prints.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenRouter } from "@openrouter/ai-sdk-provider";
import { APICallError, Output, generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const { provider, url, model: name, key } = JSON.parse(process.env.CIERZO_TEST);
const model = {
  compatible: () =>
    createOpenAICompatible({
      name: "cierzo",
      baseURL: `${url}/v1`,
      apiKey: key,
      includeUsage: true,
      supportsStructuredOutputs: true,
    })(name),
  openai: () => createOpenAI({ baseURL: `${url}/v1`, apiKey: key }).chat(name),
  openrouter: () => createOpenRouter({ baseURL: `${url}/api/v1`, apiKey: key }).chat(name),
}[provider]();

const prompt = "What is the weather in Paris?";
const person = z.object({
  name: z.string().max(20),
  age: z.number().int().min(0).max(120),
  mood: z.enum(["glad", "calm", "sad"]),
});
const weather = tool({
  description: "Says what the weather is like in a city.",
  inputSchema: z.object({
    city: z.enum(["Paris", "Zaragoza", "Oslo"]),
    unit: z.enum(["celsius", "fahrenheit"]).optional(),
  }),
  execute: async ({ city }) => ({ city, degrees: 21, sky: "sunny" }),
});

async function text() {
  const answer = await generateText({ model, prompt, maxOutputTokens: 12, temperature: 0, seed: 1 });
  const streamed = streamText({ model, prompt, maxOutputTokens: 12, temperature: 0, seed: 1 });
  let whole = "";
  for await (const piece of streamed.textStream) whole += piece;
  return {
    text: answer.text,
    streamed: whole,
    finish: answer.finishReason,
    finishStreamed: await streamed.finishReason,
    usage: answer.usage,
    usageStreamed: await streamed.usage,
  };
}

async function calls() {
  const options = {
    model,
    prompt,
    tools: { weather },
    toolChoice: { type: "tool", toolName: "weather" },
    maxOutputTokens: 120,
    seed: 1,
  };
  const answer = await generateText(options);
  const streamed = streamText(options);
  const parts = [];
  for await (const part of streamed.fullStream) parts.push(part.type);
  // The loop: a call, its result in the history, an answer.
  const looped = await generateText({
    ...options,
    stopWhen: stepCountIs(3),
    prepareStep: ({ stepNumber }) => (stepNumber ? { toolChoice: "none" } : options),
  });
  return {
    calls: answer.toolCalls.map(({ toolName, input }) => ({ toolName, input })),
    results: answer.toolResults.map(({ output }) => output),
    streamed: (await streamed.toolCalls).map(({ toolName, input }) => ({ toolName, input })),
    parts,
    finish: answer.finishReason,
    steps: looped.steps.length,
    last: looped.finishReason,
    closing: looped.text,
  };
}

async function object() {
  const options = {
    model,
    prompt: "Who is this? Jason is 25 years old and lives in Berlin.",
    output: Output.object({ schema: person, name: "person" }),
    maxOutputTokens: 120,
    seed: 1,
  };
  const answer = await generateText(options);
  const streamed = streamText(options);
  return { object: answer.output, streamed: await streamed.output };
}

async function tooLong() {
  try {
    await generateText({ model, prompt: "word ".repeat(2000), maxRetries: 0 });
  } catch (error) {
    return { known: APICallError.isInstance(error), status: error.statusCode, text: error.message };
  }
  return {};
}

const work = { text, calls, object, tooLong }[process.env.CIERZO_WORK];
console.log(JSON.stringify(await work()));
