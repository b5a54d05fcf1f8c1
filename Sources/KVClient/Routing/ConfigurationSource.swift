import Client
import NIOCore
import Sharding

/// Reads the configuration from nodes: `GET /admin/config`.
package struct ConfigurationSource: Sendable {
  package enum Answer: Sendable {
    case map(ShardMap)
    /// The node has none, or none that is newer.
    case nothing
    case failed(KVClientError)
  }

  /// What a client begins with.
  package enum Beginning: Sendable {
    case map(ShardMap)
    /// Nodes without a configuration.
    case alone([NodeReport])
    case failed(KVClientError)
  }

  private let pool: KVPool

  package init(_ pool: KVPool) { self.pool = pool }

  /// - Parameter above: only a higher version is of interest.
  package func ask(
    _ node: NodeAddress, above version: Int? = nil, deadline: NIODeadline
  ) async -> Answer {
    let query = version.map { "?above=\($0)" } ?? ""
    do throws(KVClientError) {
      let answer = try await pool.answer(
        to: KVRequest(.GET, "/admin/config" + query), on: node, deadline: deadline)
      return Self.answer(answer, of: node)
    } catch {
      return .failed(error)
    }
  }

  package static func answer(_ answer: KVResponse, of node: NodeAddress) -> Answer {
    switch answer.status {
    case 200:
      do throws(ShardMapError) {
        let json = Array(answer.body.readableBytesView)
        return .map(try ShardMap(json: json, file: "the configuration of \(node)"))
      } catch {
        return .failed(.unexpectedAnswer(node, error.description))
      }
    case 204, 404, 405: return .nothing
    default: return .failed(KeyExchange.refusal(answer, node))
    }
  }

  /// Asks all of them at once; the first configuration that comes is taken.
  package func begin(_ seeds: [NodeAddress], deadline: NIODeadline) async -> Beginning {
    var (alone, failures) = ([NodeAddress](), [Int: KVClientError]())
    let map = await withTaskGroup(of: (Int, Answer).self) { group in
      for (index, seed) in seeds.enumerated() {
        group.addTask { (index, await ask(seed, deadline: deadline)) }
      }
      for await (index, answer) in group {
        switch answer {
        case .map(let map):
          group.cancelAll()
          return ShardMap?.some(map)
        case .nothing: alone.append(seeds[index])
        case .failed(let error): failures[index] = error
        }
      }
      return nil
    }
    if let map { return .map(map) }
    let (reports, silent) = await LeaderSearch(pool).ask(alone, deadline: deadline) { _, _ in false
    }
    guard reports.isEmpty else { return .alone(reports) }
    // The first seed's, since that is the one that people look at.
    let first = failures.min { $0.key < $1.key }?.value ?? silent.first?.error
    return .failed(first ?? .unexpectedAnswer(seeds[0], "the answer is no status"))
  }
}
