/// What one writer did to keys that nobody else writes, and what may be there after a crash.
///
/// The writes of one connection are in the log in their order, so what is there is what was
/// acknowledged, and then some of the rest: none, the first, the first two, … Each as a whole.
struct WriterHistory: Sendable {
  struct Change: Sendable {
    var key: String
    /// Nil where the key is removed.
    var value: String?
  }

  /// Keys that are absent are not in it.
  typealias State = [String: String]

  let keys: [String]
  private(set) var confirmed: State = [:]
  /// Writes that are sent and not answered, oldest first.
  private(set) var pending: [[Change]] = []
  private(set) var acknowledgedCount = 0

  init(keys: [String]) { self.keys = keys }

  /// What its next write will find.
  var latest: State { pending.reduce(confirmed, Self.applying) }

  mutating func sent(_ write: [Change]) { pending.append(write) }

  /// The oldest write is acknowledged.
  mutating func acknowledged() {
    confirmed = Self.applying(confirmed, pending.removeFirst())
    acknowledgedCount += 1
  }

  /// The oldest write was refused: the answer said that nothing was written.
  mutating func refused() { pending.removeFirst() }

  private static func applying(_ state: State, _ write: [Change]) -> State {
    var state = state
    for change in write { state[change.key] = change.value }
    return state
  }

  /// What is wrong with a state that was found after a crash; nothing when it may be.
  func faults(in found: State) -> [String] {
    var state = confirmed
    if state == found { return [] }
    for write in pending {
      state = Self.applying(state, write)
      if state == found { return [] }
    }
    let open = Set(pending.joined().map(\.key))
    let settled = keys.filter { confirmed[$0] != found[$0] && !open.contains($0) }.map {
      "\($0): acknowledged \(Self.text(confirmed[$0])), found \(Self.text(found[$0]))"
    }
    if !settled.isEmpty { return settled }
    let changed = keys.filter { confirmed[$0] != found[$0] }
    return ["the keys \(changed) are no beginning of the \(pending.count) writes without an answer"]
  }

  /// Goes on from what was found. What was read is there to stay: the node says what is durable.
  mutating func settle(on found: State) {
    confirmed = found
    pending = []
  }

  private static func text(_ value: String?) -> String {
    value.map { "\"\($0.prefix(24))\" of \($0.utf8.count) bytes" } ?? "nothing"
  }
}
