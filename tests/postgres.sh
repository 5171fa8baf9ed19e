# Makes a PostgreSQL cluster, starts it, says where it is, and ends it with everything that is of it when standard input ends: even a
# test that is killed leaves nothing. Lines that it reads before are words for `pg_ctl`. The argument is the folder of the programs.
set -eu
bin=$1
dir=$(mktemp -d)
chmod 755 "$dir"
cd "$dir"
end() {
  "$bin/pg_ctl" -D data -s -m immediate stop >/dev/null 2>&1 || true
  cd /
  rm -rf "$dir"
}
trap end EXIT
"$bin/initdb" -D data -U destrier -A trust -E UTF8 --no-locale --no-sync >/dev/null
{ echo 'local all secretive scram-sha-256'; cat data/pg_hba.conf; } >hba
mv hba data/pg_hba.conf
cat >>data/postgresql.conf <<END
listen_addresses = ''
unix_socket_directories = '$dir'
fsync = off
max_connections = 200
log_min_messages = warning
END
"$bin/pg_ctl" -D data -w -s -l log start
echo "$dir"
while read -r words; do
  "$bin/pg_ctl" -D data -w -s -l log $words
  echo done
done
