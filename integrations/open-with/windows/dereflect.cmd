@echo off
rem In the folder "shell:sendto": separates the photos that Explorer passes on. The window shows progress, Ctrl+C
rem or closing it stops the command, and it stays open where something went wrong.
title dereflect
"@COMMAND@" separate %*
if errorlevel 1 pause
