#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

/// How connections are made, used and lost.
extension Worker {
  func connect(_ connection: Connection, _ now: UInt64) {
    guard let descriptor = connection.address.connect() else {
      cannotConnect(connection, now)
      return
    }
    connection.descriptor = descriptor
    connection.state = .connecting(deadline: now + plan.timeoutNanoseconds)
    connection.awaitsRoom = true
    poller.add(descriptor, number: connection.number, awaitsRoom: true)
  }

  func cannotConnect(_ connection: Connection, _ now: UInt64) {
    connection.wasTried = true
    close(connection, now)
    failAll(connection, now, first: .connect, others: .connect)
  }

  func connected(_ connection: Connection, _ now: UInt64) {
    guard SocketAddress.isConnected(connection.descriptor) else {
      cannotConnect(connection, now)
      return
    }
    connection.wasTried = true
    connection.state = .open
    measured.connectionsOpened += 1
    connection.forUnsent { write(&$0, to: connection, now) }
    send(connection, now)
  }

  func handle(_ connection: Connection, _ readiness: Poller.Readiness) {
    switch connection.state {
    case .closed: return
    case .connecting: if readiness.isWritable { connected(connection, Clock.monotonic()) }
    case .open:
      if readiness.isWritable, connection.awaitsRoom { send(connection, Clock.monotonic()) }
      if readiness.isReadable, case .open = connection.state { receive(connection) }
    }
  }

  func sendListed(_ now: UInt64) {
    guard !listed.isEmpty else { return }
    // A connection that breaks here lets its clients begin something on others.
    swap(&listed, &sending)
    for connection in sending {
      connection.isListed = false
      if case .open = connection.state { send(connection, now) }
    }
    sending.removeAll(keepingCapacity: true)
  }

  func send(_ connection: Connection, _ now: UInt64) {
    guard connection.send() else {
      drop(connection, now, because: .lost)
      return
    }
    let awaitsRoom = !connection.output.isEmpty
    guard awaitsRoom != connection.awaitsRoom else { return }
    connection.awaitsRoom = awaitsRoom
    poller.update(connection.descriptor, number: connection.number, awaitsRoom: awaitsRoom)
  }

  /// Reads what has come, and begins what that makes room for.
  func receive(_ connection: Connection) {
    receiving = connection.number
    defer { receiving = -1 }
    let kept = connection.leftover.count
    if kept > 0 {
      connection.leftover.withUnsafeBytes { input.copyMemory(from: $0) }
      connection.leftover.removeAll(keepingCapacity: true)
    }
    let count = recv(connection.descriptor, input.baseAddress! + kept, input.count - kept, 0)
    let now = Clock.monotonic()
    guard count > 0 else {
      if count < 0, errno == EAGAIN || errno == EINTR {
        connection.leftover.append(contentsOf: input[..<kept])
        return
      }
      if let answer = connection.parser.end(), connection.oldest?.sent ?? 0 > 0 {
        complete(connection.removeFirst(), answer, now)
      }
      drop(connection, now, because: .lost)
      return
    }
    let bytes = UnsafeRawBufferPointer(rebasing: input[..<(kept + count)])
    var position = 0
    while position < bytes.count {
      switch connection.parser.next(bytes, &position) {
      case .needsMore:
        connection.leftover.append(contentsOf: bytes[position...])
        position = bytes.count
      case .malformed:
        drop(connection, now, because: .malformed)
        return
      case .answer(let answer):
        guard connection.oldest?.sent ?? 0 > 0 else {
          // An answer that nobody has asked for.
          drop(connection, now, because: .malformed)
          return
        }
        connection.retryNanoseconds = 0
        let exchange = connection.removeFirst()
        if answer.closes {
          drop(connection, now, because: .lost)
          complete(exchange, answer, now)
          return
        }
        complete(exchange, answer, now)
      }
    }
    // At once, so that the node has it before the other answers are looked at.
    if !connection.output.isEmpty { send(connection, now) }
  }

  /// Closes a connection that is of no use any more; what was under way fails.
  func drop(_ connection: Connection, _ now: UInt64, because kind: FailureKind) {
    if connection.exchangeCount > 0 { measured.connectionsLost += 1 }
    let wasUseful = connection.retryNanoseconds == 0
    close(connection, now)
    failAll(connection, now, first: kind, others: .lost)
    if wasUseful { connect(connection, now) }
  }

  func close(_ connection: Connection, _ now: UInt64) {
    connection.reset()
    connection.state = .closed(retryAt: now + connection.retryNanoseconds)
    connection.retryNanoseconds = min(
      Connection.retryMaxNanoseconds,
      max(Connection.retryFirstNanoseconds, 2 * connection.retryNanoseconds))
  }

  /// Those that begin meanwhile wait for the next attempt.
  func failAll(
    _ connection: Connection, _ now: UInt64, first: FailureKind, others: FailureKind
  ) {
    var kind = first
    for _ in 0..<connection.exchangeCount {
      fail(connection.removeFirst(), kind, now)
      kind = others
    }
  }

  /// At the end: what could not be sent is not waited for.
  func abandonUnsent(_ connection: Connection) {
    if case .open = connection.state { return }
    while connection.exchangeCount > 0 {
      if connection.removeFirst().isMeasured { measured.unsent += 1 }
    }
  }
}
