/**
 * Translates the sources of the shared pool's steps for interleave.ts: every function becomes a generator, and every
 * access to shared memory yields before it happens.
 */
import ts from "typescript";

/** Parameters that are steps themselves. */
const PASSED = new Set(["attempt"]);

/** Called on the waiter or the core, these go outside: a point before them too. */
const OUTSIDE = new Set(["notify", "clear"]);

/** The body of a function that returns the steps of these sources, by their names. */
export function translate(sources: readonly string[]): string {
  const files = sources.map((text, i) => ts.createSourceFile(`${i}.ts`, text, ts.ScriptTarget.ES2022, true));
  const own = new Set<string>();
  for (const file of files) {
    for (const statement of file.statements) {
      if (ts.isFunctionDeclaration(statement)) own.add(statement.name!.text);
    }
  }
  const printer = ts.createPrinter();
  const parts = files.map((file) => {
    const { transformed } = ts.transform(file, [(context) => (root) => visitFile(root, context, own)]);
    return printer.printFile(transformed[0]!);
  });
  const { outputText } = ts.transpileModule(parts.join("\n"), {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  });
  return `${outputText}\nreturn { ${[...own].join(", ")} };`;
}

function visitFile(file: ts.SourceFile, context: ts.TransformationContext, own: ReadonlySet<string>): ts.SourceFile {
  const { factory } = context;
  const pause = (expression: ts.Expression): ts.Expression =>
    factory.createParenthesizedExpression(
      factory.createComma(factory.createYieldExpression(undefined, undefined), expression),
    );
  const isShared = (node: ts.Node): boolean => {
    const inner = ts.isNonNullExpression(node) ? node.expression : node;
    return ts.isElementAccessExpression(inner) && ts.isIdentifier(inner.expression) && inner.expression.text === "i32";
  };
  const strip = (node: ts.Expression): ts.Expression => (ts.isNonNullExpression(node) ? node.expression : node);
  const inside = (node: ts.Node): ts.Node => ts.visitEachChild(node, visit, context);
  const visit = (node: ts.Node): ts.Node => {
    if (ts.isBinaryExpression(node) && isShared(node.left) && /=$/.test(node.operatorToken.getText(file))) {
      const left = inside(strip(node.left)) as ts.Expression;
      return pause(
        factory.createBinaryExpression(left, node.operatorToken, ts.visitNode(node.right, visit) as ts.Expression),
      );
    }
    if (ts.isPostfixUnaryExpression(node) && isShared(node.operand)) {
      return pause(factory.createPostfixUnaryExpression(inside(strip(node.operand)) as ts.Expression, node.operator));
    }
    if (isShared(node)) return pause(inside(strip(node as ts.Expression)) as ts.Expression);
    if (ts.isCallExpression(node)) {
      const callee = node.expression;
      const call = inside(node) as ts.CallExpression;
      if (ts.isIdentifier(callee) && (own.has(callee.text) || PASSED.has(callee.text))) {
        const star = factory.createToken(ts.SyntaxKind.AsteriskToken);
        return factory.createParenthesizedExpression(factory.createYieldExpression(star, call));
      }
      if (ts.isPropertyAccessExpression(callee) && ts.isIdentifier(callee.expression)) {
        const [object, method] = [callee.expression.text, callee.name.text];
        if (object === "waiter" && method === "wait") {
          const sleep = factory.createPropertyAssignment("sleep", factory.createArrayLiteralExpression(call.arguments));
          const sleepy = factory.createObjectLiteralExpression([sleep]);
          return factory.createParenthesizedExpression(factory.createYieldExpression(undefined, sleepy));
        }
        if (object === "Atomics" || OUTSIDE.has(method)) return pause(call);
      }
      return call;
    }
    return inside(node);
  };
  const statements = file.statements.flatMap((statement): ts.Statement[] => {
    // Classes are not steps: they call them.
    if (ts.isImportDeclaration(statement) || ts.isInterfaceDeclaration(statement) || ts.isClassDeclaration(statement))
      return [];
    if (ts.isVariableStatement(statement))
      return [factory.updateVariableStatement(statement, [], statement.declarationList)];
    if (!ts.isFunctionDeclaration(statement)) return [statement];
    return [
      factory.updateFunctionDeclaration(
        statement,
        [],
        factory.createToken(ts.SyntaxKind.AsteriskToken),
        statement.name,
        statement.typeParameters,
        statement.parameters,
        statement.type,
        ts.visitNode(statement.body, visit) as ts.Block,
      ),
    ];
  });
  return factory.updateSourceFile(file, statements);
}
