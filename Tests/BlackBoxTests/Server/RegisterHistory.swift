import Foundation
import Synchronization

/// What one writer and any number of readers have seen of registers whose values are 1, 2, 3, …: enough to say
/// that each is linearizable.
///
/// One writer a register writes one value after the other, so a read must return no less than was
/// acknowledged before it began, no more than was begun before it ended, and no less than a read that ended
/// before it began. A write whose outcome is not known may take effect at any time: its register gets no
/// further write.
final class RegisterHistory: Sendable {
  struct Register: Sendable {
    var begun = 0
    var acknowledged = 0
    var read = 0
    /// The last that happened to it, for who has to find out.
    var events: [String] = []

    mutating func note(_ event: String) {
      if events.count == 30 { events.removeFirst() }
      events.append(event)
    }
  }

  private struct State {
    var registers: [String: Register] = [:]
    var faults: [String] = []
    var reads = 0
    var writes = 0
  }

  private let state = Mutex(State())

  var faults: [String] { state.withLock { $0.faults } }
  var reads: Int { state.withLock { $0.reads } }
  var writes: Int { state.withLock { $0.writes } }
  var registers: [String: Register] { state.withLock { $0.registers } }

  func beginWrite(_ key: String, _ value: Int) {
    state.withLock { $0.registers[key, default: Register()].begun = value }
  }

  func acknowledged(_ key: String, _ value: Int, by node: String = "") {
    state.withLock {
      $0.registers[key]!.acknowledged = value
      $0.registers[key]!.note("\(value) written by \(node)")
      $0.writes += 1
    }
  }

  /// - Returns: what a read that begins now has to see.
  func beginRead(_ key: String) -> Int {
    state.withLock { state in
      let register = state.registers[key] ?? Register()
      return max(register.acknowledged, register.read)
    }
  }

  /// - Parameters:
  ///   - value: 0 where the key is absent.
  ///   - least: what `beginRead` said.
  func endRead(_ key: String, _ value: Int, least: Int, by node: String) {
    state.withLock { state in
      state.reads += 1
      var register = state.registers[key] ?? Register()
      let most = register.begun
      register.note("\(value) read by \(node)")
      if value < least || value > most {
        state.faults.append(
          "\(key): \(value), and it is from \(least) to \(most): \(register.events)")
      }
      register.read = max(register.read, value)
      state.registers[key] = register
    }
  }
}

/// Clients of a history: each tries one node after the other until one does what it is asked.
struct RegisterClient: Sendable {
  let history: RegisterHistory
  let nodes: [LoopbackAddress]
  let isOver: @Sendable () -> Bool

  private enum Outcome {
    case done(HTTPAnswer)
    /// Certainly not done.
    case refused
    case unknown
  }

  /// One request on a connection of its own: what is left of one that was given up meets nobody else's.
  private func exchange(_ request: HTTPRequest, _ node: LoopbackAddress) -> Outcome {
    guard let connection = try? HTTPConnection(to: node, timeoutSeconds: 2) else { return .refused }
    do {
      let answer = try connection.exchange(request)
      switch answer.status {
      case 200, 201, 404: return .done(answer)
      case 403, 503: return .refused
      default: return .unknown
      }
    } catch {
      return .unknown
    }
  }

  /// Writes a register's values until the end, or until an outcome is not known; then another register's.
  func write(_ name: String) {
    var (register, value, node) = (0, 0, 0)
    while !isOver() {
      let key = "\(name)-\(register)"
      history.beginWrite(key, value + 1)
      let request = HTTPRequest(
        method: "PUT", target: "/kv/\(key)?timeout_ms=1000", body: Array("\(value + 1)".utf8))
      switch exchange(request, nodes[node % nodes.count]) {
      case .done(let answer):
        value += 1
        history.acknowledged(key, value, by: answer.origin)
      case .refused:
        node += 1
        Thread.sleep(forTimeInterval: 0.005)
      case .unknown:
        (register, value) = (register + 1, 0)
        node += 1
      }
    }
  }

  /// Reads the newest registers of the writers from any node until the end.
  func read(_ names: [String], seed: UInt64) {
    var numbers = SeededNumbers(seed: seed)
    while !isOver() {
      let name = names.randomElement(using: &numbers)!
      let keys = history.registers.keys.filter { $0.hasPrefix(name + "-") }.sorted {
        $0.utf8.count == $1.utf8.count ? $0 < $1 : $0.utf8.count < $1.utf8.count
      }
      guard let key = keys.suffix(3).randomElement(using: &numbers) else { continue }
      let node = nodes.randomElement(using: &numbers)!
      let least = history.beginRead(key)
      let request = HTTPRequest(method: "GET", target: "/kv/\(key)?timeout_ms=1000")
      if case .done(let answer) = exchange(request, node) {
        let value = answer.status == 404 ? 0 : Int(answer.text) ?? -1
        history.endRead(key, value, least: least, by: answer.origin)
      }
    }
  }
}

extension HTTPAnswer {
  /// Which node has answered what, through which other.
  fileprivate var origin: String {
    head.split(separator: "\r\n").filter {
      let name = $0.lowercased()
      return name.hasPrefix("x-kv-") || name.hasPrefix("etag")
    }.joined(separator: " ")
  }
}
