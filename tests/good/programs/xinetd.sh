#!/bin/sh
# xinetd with its own echo service, which forks for each client; without a bound of clients a second.
cat > xinetd.conf <<END
service echo
{
    type = INTERNAL UNLISTED
    id = echo-stream
    socket_type = stream
    protocol = tcp
    port = $1
    wait = no
    cps = 10000 1
}
END
exec /usr/sbin/xinetd -dontfork -f xinetd.conf -pidfile xinetd.pid -filelog xinetd.log
