// java -cp "$JARS/*" Job.java row.json: a job, sent once whatever becomes of the connection, and how it ended.
import static java.nio.charset.StandardCharsets.UTF_8;

import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

public class Job {
    static final String REQUESTS = "penstock.requests.v1", RESULTS = "penstock.results.v1";
    static final String BROKERS = System.getenv("PENSTOCK_KAFKA_BOOTSTRAP_SERVERS");

    public static void main(String[] arguments) throws Exception {
        var id = "order-" + UUID.randomUUID();
        var bytes = new ByteArrayDeserializer();
        try (var results = new KafkaConsumer<>(Map.of("bootstrap.servers", BROKERS), bytes, bytes)) {
            // From where the results end before there is ours. A service that reads all results joins a group instead.
            var partitions = results.partitionsFor(RESULTS).stream()
                .map(each -> new TopicPartition(RESULTS, each.partition())).toList();
            results.assign(partitions);
            results.endOffsets(partitions).forEach(results::seek);
            send(id, Files.readAllBytes(Path.of(arguments[0])));
            while (true) {
                for (var result : results.poll(Duration.ofSeconds(1))) {
                    if (!id.equals(new String(result.key(), UTF_8))) continue;
                    var status = new String(result.headers().lastHeader("ce_status").value(), UTF_8);
                    System.out.println(status + " " + new String(result.value(), UTF_8));
                    return; // the first counts
                }
            }
        }
    }

    static void send(String id, byte[] value) throws Exception {
        var settings = Map.<String, Object>of("bootstrap.servers", BROKERS, "compression.type", "lz4");
        var bytes = new ByteArraySerializer();
        try (var producer = new KafkaProducer<byte[], byte[]>(settings, bytes, bytes)) {
            var job = new ProducerRecord<byte[], byte[]>(REQUESTS, value);
            for (var option : List.of(Map.entry("ce_id", id), Map.entry("model", "digits"))) {
                job.headers().add(option.getKey(), option.getValue().getBytes(UTF_8));
            }
            producer.send(job).get(); // throws where the brokers have not taken it
        }
    }
}
