<?php

// A lock for a cron job or a web page, from a broker's HTTP door. It needs PHP 8.1 and none of its extensions.
// Copy this file, and put your work in the place of that at its end.

declare(strict_types=1);

/** A broker did not answer, or refused: nobody can tell who has the lock. */
final class LeaseError extends RuntimeException
{
    /** @param bool $again whether another try makes sense */
    public function __construct(string $message, public readonly bool $again)
    {
        parent::__construct($message);
    }
}

/** A lock that stands for its ttl, and for longer if it is renewed. */
final class Lease
{
    /** Stops this much before the validity is over, in seconds: the last step of the work has this long. */
    private const MARGIN = 0.5;
    private const METHODS = '/lockbroker.v1.LockService/';

    private bool $ended = false;
    /** A forked child has a copy of this object. The lock stays its parent's. */
    private int $pid;

    /** The last two are in seconds after the request was sent. */
    private function __construct(
        private string $broker,
        private string $name,
        private string $lockId,
        /** What the lock protects refuses tokens below the highest that it has seen. */
        public readonly int $token,
        private array $sent,
        private float $validity,
        private float $renewAfter,
    ) {
        $this->pid = getmypid();
    }

    /**
     * Takes the lock, or returns null if somebody else still has it after $wait seconds (at most 30).
     *
     * If this process dies, others wait until the ttl is over, in seconds: 5 or more. If an answer is lost, it asks again.
     */
    public static function acquire(string $broker, string $name, float $wait = 0, int $ttl = 15): ?self
    {
        $owner = substr(gethostname() . ' pid ' . getmypid(), 0, 128);
        // Whoever asks again with the same id gets the lease that there is.
        $request = ['lock' => ['name' => $name, 'owner' => $owner], 'ttl' => "{$ttl}s", 'requestId' => self::uuid()];
        $began = self::now();
        for ($tries = 3, $granted = false; $granted === false; $tries--) {
            $sent = self::now();
            // After an answer that was lost, what is left of it.
            $left = max(0, $wait - self::since($began));
            unset($request['wait']);
            if ($left >= 0.001) {
                $request['wait'] = ['maxWait' => sprintf('%.3Fs', $left)];
            }
            try {
                $granted = self::call($broker, 'AcquireLease', $request, $left + 5)['acquired'] ?? null;
            } catch (LeaseError $error) {
                if (!$error->again || $tries <= 1) {
                    throw $error;
                }
                usleep(200_000);
            }
        }
        if ($granted === null) {
            return null;
        }
        $validity = (float) $granted['expiresAfterRequest'] - self::MARGIN;
        $renewAfter = self::since($sent) + $ttl / 3;
        $token = (int) $granted['fencingToken'];
        $lease = new self($broker, $name, $granted['lockId'], $token, $sent, $validity, $renewAfter);
        // Runs also where `finally` does not: after exit, a fatal error, a time limit.
        register_shutdown_function($lease->release(...));
        return $lease;
    }

    /** Says whether the work may go on, and renews the lease when a third of it is over. Ask before every step. */
    public function held(): bool
    {
        if ($this->pid !== getmypid()) {
            return false;
        }
        $passed = self::since($this->sent);
        if (!$this->ended && $passed >= $this->renewAfter && $passed < $this->validity) {
            $sent = self::now();
            try {
                $answer = $this->ask('RenewLease', min(3, $this->validity - $passed));
                $this->ended = isset($answer['lost']);
                if (isset($answer['renewed'])) {
                    $validity = (float) $answer['renewed']['expiresAfterRequest'];
                    $this->sent = $sent;
                    $this->validity = $validity - self::MARGIN;
                    $this->renewAfter = $validity / 3;
                }
            } catch (LeaseError) {
                // The lease stands for now.
                $this->renewAfter = self::since($this->sent) + 1;
            }
        }
        if (self::since($this->sent) >= $this->validity) {
            // For good, also if somebody sets the clock back.
            $this->validity = 0;
        }
        return !$this->ended && $this->validity > 0;
    }

    /** Gives the lock back. Call it when the work has stopped, not before; more than one call does nothing, nor does a child's. */
    public function release(): void
    {
        if ($this->ended || $this->pid !== getmypid()) {
            return;
        }
        $this->ended = true;
        try {
            $this->ask('Release', 3);
        } catch (LeaseError $error) {
            // It ends with its ttl.
            error_log("lock \"{$this->name}\" is not released yet: {$error->getMessage()}");
        }
    }

    private function ask(string $method, float $timeout): array
    {
        return self::call($this->broker, $method, ['name' => $this->name, 'lockId' => $this->lockId], $timeout);
    }

    private static function call(string $broker, string $method, array $request, float $timeout): array
    {
        $http = [
            'method' => 'POST',
            'header' => 'content-type: application/json',
            'content' => json_encode($request, JSON_THROW_ON_ERROR),
            'timeout' => $timeout,
            'ignore_errors' => true, // The body says what the error is.
        ];
        $context = stream_context_create(['http' => $http]);
        $body = @file_get_contents($broker . self::METHODS . $method, false, $context, 0, 65536);
        if ($body === false) {
            throw new LeaseError("no answer from {$broker}", true);
        }
        $answer = json_decode($body, true);
        if (!is_array($answer) || isset($answer['code'])) {
            $again = ($answer['code'] ?? 'unavailable') === 'unavailable';
            throw new LeaseError($answer['message'] ?? "no answer of a broker from {$broker}", $again);
        }
        return $answer;
    }

    /** A random UUID, of version 4. */
    private static function uuid(): string
    {
        $bytes = random_bytes(16);
        $bytes[6] = chr(ord($bytes[6]) & 0x0f | 0x40);
        $bytes[8] = chr(ord($bytes[8]) & 0x3f | 0x80);
        return vsprintf('%s%s-%s-%s-%s-%s%s%s', str_split(bin2hex($bytes), 4));
    }

    /** Two clocks, in seconds: one that nobody sets, and one that runs on while the machine is suspended. */
    private static function now(): array
    {
        return [hrtime(true) / 1e9, microtime(true)];
    }

    /** Seconds since then, by the clock that says more. */
    private static function since(array $then): float
    {
        [$steady, $wall] = self::now();
        return max($steady - $then[0], $wall - $then[1]);
    }
}

// A job in steps: php lease.php BROKER NAME [SECONDS]. A page that includes this file has the class alone.
if (PHP_SAPI === 'cli' && realpath($_SERVER['argv'][0]) === __FILE__) {
    [, $broker, $name, $seconds] = $argv + [1 => 'http://127.0.0.1:28554', 'nightly', '60'];
    $lease = Lease::acquire($broker, $name, wait: 2);
    if ($lease === null) {
        echo "busy\n";
        exit(75);
    }
    try {
        echo "acquired: token {$lease->token}\n";
        for ($end = microtime(true) + (float) $seconds; microtime(true) < $end; usleep(20_000)) {
            // A step takes less than the margin.
            if (!$lease->held()) {
                echo "lost\n";
                exit(1);
            }
        }
        echo "done\n";
    } finally {
        $lease->release();
    }
}
