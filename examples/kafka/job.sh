# sh job.sh row.json: a job, compressed, and how it ended.
brokers=$PENSTOCK_KAFKA_BOOTSTRAP_SERVERS
id=order-$(date +%s)-$$

kcat -P -b "$brokers" -t penstock.requests.v1 -z zstd -k "$id" -H ce_id="$id" -H model=digits < "$1"

result() {
  kcat -C -b "$brokers" -t penstock.results.v1 -o beginning -e -q -f '%k %s\n' | grep -a "^$id "
}
until result; do sleep 1; done
