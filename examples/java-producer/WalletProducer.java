import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.serialization.StringSerializer;

/**
 * Puts commands on the wallet's topics, as any service in Java would.
 *
 * <p>It reads user ids (canonical UUIDs), one a line, and locks 1.5 DOGE of each for a bid. For each
 * command it prints one line of JSON: where it stands, which is the command's id.
 */
public final class WalletProducer {
  private static final ObjectMapper JSON = new ObjectMapper();

  private WalletProducer() {}

  public static void main(String[] args) throws Exception {
    if (args.length < 1) {
      System.err.println("usage: WalletProducer BOOTSTRAP_SERVERS [TOPIC_PREFIX] < users");
      System.exit(2);
    }
    String topic = (args.length > 1 ? args[1] : "") + "wallet.commands";
    try (Producer<String, String> producer = new KafkaProducer<>(settings(args[0]));
        BufferedReader users =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
      sendAll(producer, users, topic);
    } catch (IllegalStateException unknown) {
      System.err.println(unknown.getMessage());
      System.exit(1);
    }
  }

  private static void sendAll(
      Producer<String, String> producer, BufferedReader users, String topic) throws Exception {
    for (String user = users.readLine(); user != null; user = users.readLine()) {
      // Chosen before the first attempt, and the same for each: a replay moves nothing.
      String key = "bid:" + user;
      String value = command("lock_funds", user, key, bid("1.5", "auction", "1042"));
      tell(user, send(producer, new ProducerRecord<>(topic, user, value)));
    }
  }

  private static Properties settings(String servers) {
    Properties settings = new Properties();
    settings.put(ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, servers);
    settings.put(ProducerConfig.KEY_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
    settings.put(ProducerConfig.VALUE_SERIALIZER_CLASS_CONFIG, StringSerializer.class);
    settings.put(ProducerConfig.ACKS_CONFIG, "all");
    // Without it a retry inside the client can change the order.
    settings.put(ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
    // How long it looks for a broker that does not answer; a minute by default, in silence.
    settings.put(ProducerConfig.MAX_BLOCK_MS_CONFIG, 10_000);
    // No partitioner is named: the default for records with a key is the wallet's (murmur2).
    return settings;
  }

  private static Map<String, Object> bid(String amount, String type, String id) {
    Map<String, Object> data = new LinkedHashMap<>();
    data.put("amount", amount); // DOGE as text, never a number
    data.put("reference_type", type);
    data.put("reference_id", id);
    return data;
  }

  /** The envelope: these eight fields, and no other. */
  private static String command(String type, String user, String key, Map<String, Object> data)
      throws Exception {
    Map<String, Object> envelope = new LinkedHashMap<>();
    envelope.put("id", UUID.randomUUID().toString());
    envelope.put("type", type);
    envelope.put("version", 1);
    envelope.put("user_id", user); // the record's key, too
    envelope.put("idempotency_key", key);
    envelope.put("issued_at", Instant.now().toString());
    envelope.put("issuer", "java-example");
    envelope.put("data", data);
    return JSON.writeValueAsString(envelope);
  }

  private static RecordMetadata send(
      Producer<String, String> producer, ProducerRecord<String, String> record)
      throws InterruptedException {
    try {
      return producer.send(record).get();
    } catch (ExecutionException unknown) {
      // It may be on the topic all the same: send it again, with the same idempotency key.
      throw new IllegalStateException(
          "unknown: run again with the same users; " + unknown.getCause(), unknown);
    }
  }

  private static void tell(String user, RecordMetadata place) throws Exception {
    Map<String, Object> told = new LinkedHashMap<>();
    told.put("user_id", user);
    told.put("topic", place.topic());
    told.put("partition", place.partition());
    told.put("offset", place.offset());
    System.out.println(JSON.writeValueAsString(told));
  }
}
