#!/usr/bin/env bash
# A real object store for tests: OpenStack Swift with its S3 interface on 127.0.0.1:8080, key test:tester, secret testing, region us-east-1.
# swift.sh FOLDER runs in network, PID and mount namespaces of its own (swift.ts); whatever it writes is in FOLDER. It prints "up", and
# everything ends with its namespace.
set -euo pipefail
dir=$1; ip link set lo up
mkdir -p "$dir"/{etc,node/d1,cache,run}; chown -R swift:swift "$dir"; chmod 755 "$dir"
mkdir -p /etc/swift /var/cache/swift /var/run/swift
mount --bind "$dir/etc" /etc/swift; mount --bind "$dir/cache" /var/cache/swift; mount --bind "$dir/run" /var/run/swift
cd /etc/swift
printf '[swift-hash]\nswift_hash_path_suffix = lockstep\nswift_hash_path_prefix = lockstep\n[storage-policy:0]\nname = p0\ndefault = yes\n' >swift.conf
for t in account:6202 container:6201 object:6200; do n=${t%%:*}; p=${t##*:}
  printf '[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = %s\nuser = swift\ndevices = %s/node\nmount_check = false\nworkers = 1\nlog_address = /dev/null\n[pipeline:main]\npipeline = %s-server\n[app:%s-server]\nuse = egg:swift#%s\n' "$p" "$dir" "$n" "$n" "$n" >$n-server.conf
done
{ printf '[DEFAULT]\nbind_ip = 127.0.0.1\nbind_port = 8080\nuser = swift\nworkers = 1\nlog_address = /dev/null\n[pipeline:main]\npipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth slo dlo copy proxy-server\n[app:proxy-server]\nuse = egg:swift#proxy\naccount_autocreate = true\n'
  printf '[filter:cache]\nuse = egg:swift#memcache\nmemcache_servers = 127.0.0.1:11211\n[filter:s3api]\nuse = egg:swift#s3api\nlocation = us-east-1\ns3_acl = false\nmin_segment_size = 5242880\n[filter:tempauth]\nuse = egg:swift#tempauth\nuser_test_tester = testing .admin\n'
  for f in catch_errors gatekeeper healthcheck listing_formats bulk slo dlo copy; do printf '[filter:%s]\nuse = egg:swift#%s\n' $f $f; done; } >proxy-server.conf
# The system's Python has Swift. One process, since each start takes a second.
/usr/bin/python3 -c '
from swift.common.ring import RingBuilder
for name, port in (("account", 6202), ("container", 6201), ("object", 6200)):
    builder = RingBuilder(4, 1, 1)
    where = {"ip": "127.0.0.1", "port": port, "replication_ip": "127.0.0.1", "replication_port": port}
    builder.add_dev({"region": 1, "zone": 1, "device": "d1", "weight": 1, "meta": "", **where})
    builder.rebalance()
    builder.get_ring().save(name + ".ring.gz")
'
memcached -u nobody -l 127.0.0.1 &
for n in account container object proxy; do swift-$n-server /etc/swift/$n-server.conf >"$dir/$n.log" 2>&1 & done
for _ in $(seq 240); do curl -sf http://127.0.0.1:8080/healthcheck >/dev/null && { echo up; break; }; sleep 0.25; done
wait
