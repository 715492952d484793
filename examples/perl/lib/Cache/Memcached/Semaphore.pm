package Cache::Memcached::Semaphore;

# Locks of lockbroker, behind the interface of the CPAN module of this name. It speaks to a broker's HTTP door and needs
# nothing but Perl. README.md, two folders up from lib/Cache, says how to use it.

use 5.020;
use strict;
use warnings;

use Carp qw(croak);
use Errno qw(EAGAIN EINTR);
use Exporter qw(import);
use IO::Socket::IP;
use IO::Socket::UNIX;
use JSON::PP ();
use Scalar::Util qw(refaddr weaken);
use Sys::Hostname qw(hostname);
use Time::HiRes ();

our @EXPORT      = qw(acquire wait_acquire);
our %EXPORT_TAGS = (all => [@EXPORT]);

# A broker repeats `queued` every 5 s. One that says nothing for this long is gone. In seconds, as all times here.
use constant SILENCE => 15;
# Stops this much before the validity is over, as the broker does with its ttl of 15 s.
use constant MARGIN => 0.5;
# No message has as much.
use constant MOST_BYTES => 65_536;

# All locks of this process, by their addresses, as long as a variable has them.
my %locks;

my %KNOWN = map { $_ => 1 } qw(memd name timeout max_wait poll_time force force_after_timeout owner ttl);

# Takes the lock, or returns undef if somebody else has it. Dies if no broker can tell.
sub new {
    my ($class, %args) = @_;
    return _force($class, \%args, $args{max_wait}) if $args{force};
    return _ask($class, \%args, 'Acquire');
}

sub acquire { return __PACKAGE__->new(@_) }

# Waits for the lock, for at most max_wait. Without one, or with 0, it waits for ever.
sub wait_acquire {
    my %args = @_;
    my %wait;
    $wait{maxWait}      = _span($args{max_wait})  if $args{max_wait};
    $wait{pollInterval} = _span($args{poll_time}) if $args{poll_time};
    my $lock = _ask(__PACKAGE__, \%args, 'WaitAcquire', wait => \%wait);
    return $lock if $lock || !($args{force} || $args{force_after_timeout});
    # Its max_wait is over.
    return _force(__PACKAGE__, \%args);
}

# The ancestor's page calls the module as a function. A sub of that name would change what `new Cache::Memcached::Semaphore(...)`
# means to Perl, so the call arrives here instead.
sub Cache::Memcached::AUTOLOAD {
    my ($called) = $Cache::Memcached::AUTOLOAD =~ /(\w+)\z/;
    return __PACKAGE__->new(@_) if $called eq 'Semaphore';
    return if $called eq 'DESTROY';
    croak "Cache::Memcached has no $called";
}

# Returns why the lock is lost, or undef while it is held. Ask before every step of the work. It does not wait.
sub lost {
    my ($self) = @_;
    # The socket is the parent's, too. What a child reads is missing there.
    return 'it belongs to the parent of this process' if $self->{pid} != $$;
    while (!$self->{lost} and my $message = _next($self)) { _heed($self, $message) }
    $self->{lost} //= 'the broker has closed the connection'    if $self->{ended};
    $self->{lost} //= 'no renewal came in time' if _now() >= $self->{until};
    return $self->{lost};
}

# The number that grows with each grant of the name: what the lock protects refuses lower ones.
sub fencing_token { return $_[0]{token} }

# Gives the lock back now. The end of the variable does the same. Returns true if the lock was held until then.
sub release {
    my ($self) = @_;
    # A child's copy: closing it leaves the connection as it is.
    return 0 if $self->{pid} != $$;
    my $held = $self->{lock_id} && !$self->lost;
    if ($held) {
        # By a call, since its answer says that the next one can have the lock.
        my $call = { until => _now() + 3 };
        _send($call, $self->{address}, 'LockService/Release', { name => $self->{name}, lockId => $self->{lock_id} });
        my $answer = _answer($call);
        $held = $answer && ($answer->{outcome} // '') eq 'OUTCOME_RELEASED';
        $self->{lost} //= 'it was released';
    }
    # Read to the end: a socket that is closed with bytes unread resets its connection, and the broker takes that for silence.
    1 while $self->{socket} && !$self->{ended} && _fill($self);
    delete $self->{socket};
    return $held;
}

# What global variables hold is released here: when these end, what a call needs may have ended before them.
END {
    local ($@, $!, $?, $^E);
    $_->release for grep { defined } values %locks;
}

sub DESTROY {
    my ($self) = @_;
    delete $locks{ refaddr $self };
    local ($@, $!, $?, $^E);
    eval { $self->release; 1 } or warn "lock \"$self->{name}\": not released: $@";
    return;
}

# A thread's copy is none.
sub CLONE_SKIP { return 1 }

# Asks the brokers in turn until one has an answer: the lock, or undef if somebody else has it.
sub _ask {
    my ($class, $args, $method, %more) = @_;
    my @unknown = grep { !$KNOWN{$_} } sort keys %{$args};
    croak "there is no argument @unknown" if @unknown;
    my %lock = (name => _text($args->{name} // croak 'a lock needs a name'));
    $lock{owner}  = _text($args->{owner} // substr(hostname() . " pid $$", 0, 128));
    $lock{linger} = _span($args->{timeout}) if $args->{timeout};
    $more{ttl}    = _span($args->{ttl}) if $args->{ttl};

    my $why;
    for my $address (_addresses($args->{memd})) {
        my $self = bless { pid => $$, name => $lock{name}, address => $address }, $class;
        if (_send($self, $address, "LockService/$method", { lock => \%lock, %more })) {
            while (!$self->{lock_id} && !$self->{refused} && !$self->{lost}) {
                my $message = _next($self, _now() + SILENCE);
                if   ($message) { _heed($self, $message) }
                else            { $self->{lost} = $self->{ended} ? 'no answer' : 'no answer in ' . SILENCE . ' s' }
            }
            if ($self->{lock_id}) {
                weaken($locks{ refaddr $self } = $self);
                return $self;
            }
            return undef if $self->{refused};    ## no critic (the interface: undef in lists too)
        }
        $why = "$address: $self->{lost}";
        # Any other broker would say the same. But limits and quotas (429) are one broker's.
        last if $self->{status} && $self->{status} =~ /^4(?!29)/;
    }
    croak "lock \"$lock{name}\": $why";
}

# Revokes the lock of the present holder, who is told so, and waits in line, for at most max_wait: until that one cannot believe in
# the lock any more and its linger is over, and behind others who wait.
sub _force {
    my ($class, $args, $max_wait) = @_;
    my $name = _text($args->{name} // croak 'a lock needs a name');
    my $seen = _get($args, 'LockService/GetLock', { name => $name });
    if (($seen->{state} // '') eq 'STATE_HELD') {
        _get($args, 'LockAdmin/RevokeLock', { name => $name, etag => $seen->{etag} });
    }
    return _ask($class, $args, 'WaitAcquire', wait => { $max_wait ? (maxWait => _span($max_wait)) : () });
}

# The answer of the first broker that has one.
sub _get {
    my ($args, $method, $request) = @_;
    my $call;
    for my $address (_addresses($args->{memd})) {
        $call = { until => _now() + SILENCE };
        my $answer = _send($call, $address, $method, $request) && _answer($call);
        return $answer if $answer;
    }
    croak "lock \"$request->{name}\": $call->{lost}";
}

# Takes note of an event, or of an error.
sub _heed {
    my ($self, $message) = @_;
    my $event = $message->{event} // {};
    if (my $granted = $event->{acquired} // $event->{renewed}) {
        # Counts from the request, not from now. So it grows with every renewal.
        $self->{until} = $self->{sent} + ($granted->{expiresAfterRequest} =~ s/s\z//r) - MARGIN;
        ($self->{lock_id}, $self->{token}) = @{$granted}{qw(lockId fencingToken)} if $event->{acquired};
    }
    elsif ($event->{notAcquired}) { $self->{refused} = 1 }
    elsif ($event->{lost})        { $self->{lost} = $event->{lost}{reason} // 'lost' }
    elsif ($event->{released})    { $self->{lost} = 'it was released' }
    elsif (my $error = $message->{error} // ($message->{code} && $message)) {
        $self->{lost} = join ': ', grep { defined } @{$error}{qw(code message)};
    }
    return;
}

# Calls a method; the answer is read by _next. False if nobody is there.
sub _send {
    my ($call, $address, $method, $request) = @_;
    my ($socket, $host);
    if ($address =~ m{^unix:(/.+)}) {
        ($socket, $host) = (IO::Socket::UNIX->new(Peer => $1), 'localhost');
    }
    elsif ($address =~ m{^http://(\[[^\]]+\]|[^/:]+)(?::(\d+))?/?\z}) {
        ($host, my $port) = ($1, $2 // 80);
        $socket = IO::Socket::IP->new(PeerHost => $host =~ tr/[]//dr, PeerPort => $port, Timeout => 5);
        $host .= ":$port";
    }
    else { croak "memd: \"$address\" is neither http://HOST:PORT nor unix:/PATH" }
    if (!$socket) { $call->{lost} = "nobody answers: $!"; return 0 }

    my $body = JSON::PP->new->utf8->encode($request);
    my $head = join "\r\n", "POST /lockbroker.v1.$method HTTP/1.1", "host: $host", 'content-type: application/json',
        'connection: close', 'content-length: ' . length $body, q{}, q{};
    @{$call}{qw(socket raw body sent)} = ($socket, q{}, q{}, _now());
    # Too short not to fit. One that could not be sent has no answer.
    local $SIG{PIPE} = 'IGNORE';
    syswrite $socket, $head . $body;
    $socket->blocking(0);
    return 1;
}

# The one message of a call with one answer; none if it failed.
sub _answer {
    my ($call) = @_;
    my $message = $call->{socket} && _next($call, $call->{until});
    return $message if $message && $call->{status} == 200;
    _heed($call, $message) if $message;
    $call->{lost} //= 'no answer';
    return;
}

# The next message, for which it waits until then, or not at all.
sub _next {
    my ($call, $until) = @_;
    while ($call->{body} !~ /\n/ && !$call->{ended}) {
        next if _fill($call);
        my $left = ($until // 0) - _now();
        return if $left <= 0;
        vec(my $ready = q{}, fileno $call->{socket}, 1) = 1;
        select $ready, undef, undef, $left;
    }
    # The last one ends with the answer. What comes from something else than a broker may be no JSON.
    $call->{body} =~ s/\A([^\n]+)\n?// or return;
    my $line = $1;
    return eval { JSON::PP->new->utf8->decode($line) } // { code => "HTTP status $call->{status}" };
}

# Reads what has come, if anything has, and takes the framing of HTTP off it.
sub _fill {
    my ($call) = @_;
    my $got = sysread $call->{socket}, $call->{raw}, 16_384, length $call->{raw};
    return 0 if !defined $got && ($! == EAGAIN || $! == EINTR);
    $call->{ended} = 1 if !$got || length $call->{raw} > MOST_BYTES;
    if (!$call->{status}) {
        $call->{raw} =~ s{\AHTTP/1\.\d (\d+)(.*?)\r\n\r\n}{}s or return 1;
        ($call->{status}, my $head) = ($1, $2);
        $call->{chunked} = $head =~ /^transfer-encoding: *chunked/im;
    }
    if (!$call->{chunked}) { $call->{body} .= substr $call->{raw}, 0, length $call->{raw}, q{} }
    while ($call->{chunked} && $call->{raw} =~ /\A([0-9a-f]{1,5})\b[^\n]*\n/i) {
        my ($size, $start) = (hex $1, $+[0]);
        $call->{ended} = 1 if !$size;
        last if !$size || length $call->{raw} < $start + $size + 2;
        $call->{body} .= substr $call->{raw}, $start, $size;
        substr $call->{raw}, 0, $start + $size + 2, q{};
    }
    return 1;
}

# The brokers' addresses. A memcached's object says nothing about them.
sub _addresses {
    my ($memd) = @_;
    my @addresses = ref $memd eq 'ARRAY' ? @{$memd} : defined $memd && !ref $memd ? $memd : ();
    @addresses = split /[\s,]+/, $ENV{LOCKBROKER_HTTP} // q{} if !@addresses;
    return @addresses ? @addresses : croak 'memd: give the address of a broker, or set LOCKBROKER_HTTP';
}

# Seconds of a clock that runs on while the machine is suspended, where there is one.
sub _now {
    state $clock = eval { Time::HiRes::clock_gettime(Time::HiRes::CLOCK_BOOTTIME()); Time::HiRes::CLOCK_BOOTTIME() }
        // Time::HiRes::CLOCK_MONOTONIC();
    return Time::HiRes::clock_gettime($clock);
}

sub _span { return sprintf '%.6fs', $_[0] }

# Bytes of UTF-8 are text, too.
sub _text {
    my $text = "$_[0]";
    utf8::decode($text) if !utf8::is_utf8($text);
    return $text;
}

1;
