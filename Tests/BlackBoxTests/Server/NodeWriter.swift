/// A client that writes to its own keys, in all the ways there are, until the node is gone.
struct NodeWriter: Sendable {
  private enum Way: CaseIterable {
    case classicSet, formSet, jsonSet, restPut, classicDelete, restDelete, batch
  }

  private struct Expectation {
    var statuses: [Int]
    var request: HTTPRequest
  }

  let name: String
  private(set) var history: WriterHistory
  /// Answers that were not what they had to be.
  private(set) var faults: [String] = []
  private var numbers: SeededNumbers
  /// Requests that are sent before the first answer is read.
  private let depth: Int
  private var stamp = 0

  init(_ name: String, depth: Int, seed: UInt64) {
    self.name = name
    self.depth = depth
    numbers = SeededNumbers(seed: seed)
    history = WriterHistory(keys: (0..<20).map { "\(name)/key \($0) é" })
  }

  /// Writes until the connection ends.
  mutating func write(to address: LoopbackAddress) {
    do {
      let connection = try HTTPConnection(to: address)
      while faults.isEmpty {
        let count = Int.random(in: 1...depth, using: &numbers)
        let expectations = (0..<count).map { _ in next() }
        try connection.send(Array(expectations.map(\.request.bytes).joined()))
        for expectation in expectations {
          judge(try connection.receive(), expectation)
        }
        if numbers.once(in: 8) { try readBack(connection) }
      }
    } catch ConnectionError.closed, ConnectionError.refused {
      // The node was killed, or stops.
    } catch {
      faults.append("\(name): \(error)")
    }
  }

  private mutating func judge(_ answer: HTTPAnswer, _ expectation: Expectation) {
    if answer.status == 503 {
      history.refused()
    } else if expectation.statuses.contains(answer.status) {
      history.acknowledged()
    } else {
      faults.append(
        "\(name): \(expectation.request.method) \(expectation.request.target.prefix(60)): "
          + "\(answer.status) \(answer.text), not \(expectation.statuses)")
    }
  }

  private mutating func readBack(_ connection: HTTPConnection) throws {
    let key = history.keys.randomElement(using: &numbers)!
    let answer = try connection.get(key)
    let found = answer.status == 200 ? answer.text : nil
    if found != history.confirmed[key] {
      faults.append("\(name): its own write of \(key) is not what it reads: \(answer.status)")
    }
  }

  // MARK: - Choice

  private mutating func next() -> Expectation {
    let key = history.keys.randomElement(using: &numbers)!
    let isThere = history.latest[key] != nil
    let way = Way.allCases.randomElement(using: &numbers)!
    switch way {
    case .classicDelete, .restDelete:
      history.sent([WriterHistory.Change(key: key, value: nil)])
      return way == .classicDelete
        ? Expectation(statuses: [isThere ? 200 : 404], request: .classicDelete(key))
        : Expectation(statuses: [isThere ? 204 : 404], request: .delete(key))
    case .batch:
      let keys = history.keys.shuffled(using: &numbers).prefix(
        Int.random(in: 2...6, using: &numbers))
      let changes = keys.map { key in
        WriterHistory.Change(key: key, value: numbers.once(in: 4) ? nil : value())
      }
      history.sent(changes)
      return Expectation(statuses: [200], request: .batch(changes))
    default:
      let value = value()
      history.sent([WriterHistory.Change(key: key, value: value)])
      switch way {
      case .classicSet: return Expectation(statuses: [200], request: .classicSet(key, value))
      case .formSet: return Expectation(statuses: [200], request: .formSet(key, value))
      case .jsonSet: return Expectation(statuses: [201], request: .jsonSet(key, value))
      default: return Expectation(statuses: [isThere ? 200 : 201], request: .put(key, value))
      }
    }
  }

  /// A value that was never written before; some are larger than a small segment.
  private mutating func value() -> String {
    stamp += 1
    let bytes =
      switch Int.random(in: 0..<20, using: &numbers) {
      case 0: Int.random(in: 8_000...20_000, using: &numbers)
      case 1...4: Int.random(in: 500...3_000, using: &numbers)
      default: Int.random(in: 0...100, using: &numbers)
      }
    return "\(name).\(stamp)." + String(repeating: "x", count: bytes)
  }

  // MARK: - After a crash

  /// What is wrong with what the node has of its keys, and goes on from that.
  mutating func check(_ connection: HTTPConnection) throws -> [String] {
    let found = try Self.read(history.keys, connection)
    defer { history.settle(on: found) }
    return faults + history.faults(in: found)
  }

  static func read(_ keys: [String], _ connection: HTTPConnection) throws -> WriterHistory.State {
    var found: WriterHistory.State = [:]
    for key in keys {
      let answer = try connection.get(key)
      switch answer.status {
      case 200: found[key] = answer.text
      case 404: break
      default: throw ConnectionError.malformed("\(key): \(answer.status) \(answer.text)")
      }
    }
    return found
  }
}
