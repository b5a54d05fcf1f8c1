import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node whose system refuses to hand over a connection") struct ListenerLossTests {
    @Test("for a reason that nobody expects, says so and ends instead of living on unheard")
    func ends() async throws {
      var settings = ServedNode.Settings(in: try TemporaryDirectory())
      settings.tracing = [
        "-e", "trace=accept,accept4", "-e", "inject=accept,accept4:error=EPROTO:when=1+",
      ]
      let node = try await ServedNode.start(settings)
      // The system takes it; the node does not get it.
      try await Threads.runOne { _ = try node.connect() }
      let outcome = try await node.process.outcome()
      #expect(outcome.status == 1)
      #expect(outcome.errors.contains("takes no more connections"))
    }
  }
}
