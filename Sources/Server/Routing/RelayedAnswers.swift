import NIOCore

/// What a connection has with other nodes: how many of its requests, and answers that came before their turn.
///
/// Answers keep the order of the requests. Large ones count in the node's bound on answers from when their
/// first bytes come until the client has taken them: `charge` is of those that are to be written next.
package struct RelayedAnswers {
  /// Requests that were handed on, and of these the first that is not answered.
  private var count: UInt64 = 0
  private var first: UInt64 = 0
  /// Answers that came before that of the first.
  private var early: [UInt64: (bytes: ByteBuffer, charge: Int)] = [:]
  /// What the answers count for that are in the connection's output.
  private var charge = 0
  /// Large answers that the client is being sent.
  private var sending = 0
  /// The client has so long to take them.
  package private(set) var deadline: NIODeadline?

  package init() {}

  /// Requests that are not answered.
  package var open: Int { Int(count - first) }
  /// Of the next request.
  package var next: UInt64 { count }

  /// Whether nothing else is with other nodes.
  package func isAlone(_ number: UInt64) -> Bool { open == 1 && number == first }

  /// The next request is with another node.
  package mutating func add() { count += 1 }

  /// Adds the answer to a request, and those behind it that are there already; keeps it where answers before
  /// it are missing.
  package mutating func take(
    _ number: UInt64, charge: Int, into output: inout ByteBuffer,
    _ write: (inout ByteBuffer) -> Void
  ) {
    guard number == first else {
      var bytes = ByteBuffer()
      write(&bytes)
      early[number] = (bytes, charge)
      return
    }
    first += 1
    self.charge += charge
    write(&output)
    while !early.isEmpty, let next = early.removeValue(forKey: first) {
      first += 1
      self.charge += next.charge
      output.writeImmutableBuffer(next.bytes)
    }
  }

  /// What is in the output is written.
  ///
  /// - Parameter deadline: of answers that count for so much.
  /// - Returns: what they count for; 0 where nothing is to be told about the end.
  package mutating func beginSending(deadline: (_ charge: Int) -> NIODeadline) -> Int {
    guard charge > 0 else { return 0 }
    defer { charge = 0 }
    sending += 1
    let new = deadline(charge)
    // Those before it may have longer.
    self.deadline = self.deadline.map { max($0, new) } ?? new
    return charge
  }

  /// The client has taken one of them.
  package mutating func endSending() {
    sending -= 1
    if sending == 0 { deadline = nil }
  }

  /// The client is gone.
  ///
  /// - Returns: what was still to be sent counts for.
  package mutating func drop() -> Int {
    defer {
      charge = 0
      early = [:]
    }
    return early.values.reduce(charge) { $0 + $1.charge }
  }
}
