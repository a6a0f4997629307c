// Reads the wallet's events, each once and in order, and holds each to its schema.
//
//   node consumer.js BOOTSTRAP_SERVERS COUNT [TOPIC_PREFIX]
//
// prints one line of JSON an event, and ends after COUNT of them. It fails at the first that is not
// as the contract says.
import { readdirSync, readFileSync } from "node:fs";
import Ajv from "ajv/dist/2020.js";
import kafkajs from "kafkajs";

const [servers, count, prefix = ""] = process.argv.slice(2);
if (!servers || !(Number(count) > 0)) {
  console.error("usage: node consumer.js BOOTSTRAP_SERVERS COUNT [TOPIC_PREFIX]");
  process.exit(2);
}
const topic = `${prefix}wallet.events`;
const folder = new URL("../../schemas/json/events/", import.meta.url);

// By the event's type.
const ajv = new Ajv({ strict: false });
const schemas = new Map(
  readdirSync(folder).map((name) => [
    name.replace(/\.json$/, ""),
    ajv.compile(JSON.parse(readFileSync(new URL(name, folder), "utf8"))),
  ]),
);

// One user's events, each once and in order. A service keeps `last` beside what it makes of them.
class Inbox {
  last = 0;
  early = new Map();

  take(event) {
    if (event.sequence > this.last) this.early.set(event.sequence, event);
    const ready = [];
    while (this.early.has(this.last + 1)) {
      this.last += 1;
      ready.push(this.early.get(this.last));
      this.early.delete(this.last);
    }
    return ready;
  }
}

// As every Kafka client in Java computes it.
const partitionOf = kafkajs.Partitioners.DefaultPartitioner();

function check(event, message, partition, partitions) {
  const valid = schemas.get(event.type);
  // Types may be added: a consumer bears what it does not know.
  if (valid && !valid(event)) {
    throw new Error(`${event.type} ${event.id}: ${ajv.errorsText(valid.errors)}`);
  }
  const key = message.key.toString();
  if (key !== event.subject) throw new Error(`${event.id} is keyed by ${key}`);
  const own = partitionOf({ topic, partitionMetadata: partitions, message });
  if (own !== partition) throw new Error(`${event.id} is in ${partition}, not in ${own}`);
}

async function main() {
  const kafka = new kafkajs.Kafka({
    brokers: servers.split(","),
    clientId: "node-example",
    logLevel: kafkajs.logLevel.NOTHING,
  });
  const admin = kafka.admin();
  await admin.connect();
  const metadata = await admin.fetchTopicMetadata({ topics: [topic] });
  await admin.disconnect();
  const { partitions } = metadata.topics[0];

  // Committed records alone, or you see what was taken back.
  const consumer = kafka.consumer({ groupId: `node-example-${process.pid}`, readUncommitted: false });
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  const inboxes = new Map();
  let told = 0;
  await new Promise((done, failed) => {
    consumer.on(consumer.events.CRASH, ({ payload }) => failed(payload.error));
    consumer
      .run({
        eachMessage: async ({ partition, message }) => {
          try {
            const event = JSON.parse(message.value.toString());
            check(event, message, partition, partitions);
            if (!inboxes.has(event.subject)) inboxes.set(event.subject, new Inbox());
            for (const ready of inboxes.get(event.subject).take(event)) {
              const { id, type, subject, sequence, causationid } = ready;
              if (told < count) {
                console.log(JSON.stringify({ id, type, subject, sequence, causationid, partition }));
              }
              told += 1;
            }
            if (told >= count) done();
          } catch (error) {
            failed(error);
          }
        },
      })
      .catch(failed);
  });
  await consumer.disconnect();
}

main().catch((error) => {
  console.error(String(error));
  process.exit(1);
});
